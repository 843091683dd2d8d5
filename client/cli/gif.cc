#include "client/cli/gif.h"

#include <gif_lib.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"

namespace synthvol::client {
namespace {

constexpr int kGreys = 256;
// Hundredths of a second.
constexpr uint8_t kFrameDelay = 7;

int AppendToString(GifFileType* gif, const GifByteType* data, int size) {
  static_cast<std::string*>(gif->UserData)
      ->append(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
  return size;
}

}  // namespace

struct GifWriter::State {
  std::string path;
  int width = 0;
  int height = 0;
  std::string bytes;
  GifFileType* gif = nullptr;

  ~State() {
    if (gif != nullptr) EGifCloseFile(gif, nullptr);
  }
  absl::Status Error() const {
    const char* reason = gif == nullptr ? nullptr : GifErrorString(gif->Error);
    return absl::InternalError(
        absl::StrCat(path, ": cannot encode: ", reason == nullptr ? "?" : reason));
  }
  // Netscape's application block: loop for ever.
  bool WriteLoop() const {
    const unsigned char loop[] = {1, 0, 0};
    return EGifPutExtensionLeader(gif, APPLICATION_EXT_FUNC_CODE) == GIF_OK &&
           EGifPutExtensionBlock(gif, 11, "NETSCAPE2.0") == GIF_OK &&
           EGifPutExtensionBlock(gif, sizeof(loop), loop) == GIF_OK &&
           EGifPutExtensionTrailer(gif) == GIF_OK;
  }
};

GifWriter::GifWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
GifWriter::GifWriter(GifWriter&&) noexcept = default;
GifWriter& GifWriter::operator=(GifWriter&&) noexcept = default;
GifWriter::~GifWriter() = default;

absl::StatusOr<GifWriter> GifWriter::Create(const std::string& path, int width, int height) {
  auto state = std::make_unique<State>();
  state->path = path;
  state->width = width;
  state->height = height;
  int error = 0;
  state->gif = EGifOpen(&state->bytes, AppendToString, &error);
  if (state->gif == nullptr) return state->Error();
  GifColorType greys[kGreys];
  for (int i = 0; i < kGreys; ++i) {
    const auto level = static_cast<GifByteType>(i);
    greys[i] = {level, level, level};
  }
  ColorMapObject* map = GifMakeMapObject(kGreys, greys);
  EGifSetGifVersion(state->gif, true);
  const bool fine = map != nullptr &&
                    EGifPutScreenDesc(state->gif, width, height, 8, 0, map) == GIF_OK &&
                    state->WriteLoop();
  GifFreeMapObject(map);
  if (!fine) return state->Error();
  return GifWriter(std::move(state));
}

absl::Status GifWriter::AddFrame(absl::Span<const uint8_t> grey) {
  const GraphicsControlBlock control{DISPOSE_DO_NOT, false, kFrameDelay, NO_TRANSPARENT_COLOR};
  GifByteType extension[4];
  EGifGCBToExtension(&control, extension);
  if (EGifPutExtension(state_->gif, GRAPHICS_EXT_FUNC_CODE, sizeof(extension), extension) !=
          GIF_OK ||
      EGifPutImageDesc(state_->gif, 0, 0, state_->width, state_->height, false, nullptr) !=
          GIF_OK) {
    return state_->Error();
  }
  std::string row(static_cast<size_t>(state_->width), '\0');
  for (int y = 0; y < state_->height; ++y) {
    const auto line = grey.subspan(static_cast<size_t>(y) * row.size(), row.size());
    // giflib's parameter is not const, though it only reads.
    row.assign(line.begin(), line.end());
    if (EGifPutLine(state_->gif, reinterpret_cast<GifPixelType*>(row.data()), state_->width) !=
        GIF_OK) {
      return state_->Error();
    }
  }
  return absl::OkStatus();
}

absl::Status GifWriter::Commit() {
  const int closed = EGifCloseFile(std::exchange(state_->gif, nullptr), nullptr);
  if (closed != GIF_OK) return state_->Error();
  return WriteFileAtomically(state_->path, state_->bytes);
}

}  // namespace synthvol::client
