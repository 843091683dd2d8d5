#include "imaging/dicom/file_writer.h"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "absl/strings/str_cat.h"
#include "imaging/dicom/element_bytes.h"
#include "imaging/dicom/frame_codec.h"

namespace synthvol::imaging::dicom {
namespace {

static_assert(std::endian::native == std::endian::little,
              "pixels are copied as they lie in memory");

constexpr uint32_t kItemTag = 0xFFFEE000;
constexpr uint32_t kSequenceDelimitationTag = 0xFFFEE0DD;

std::string_view AsBytes(absl::Span<const int16_t> stored) {
  return {reinterpret_cast<const char*>(stored.data()), stored.size() * sizeof(int16_t)};
}

}  // namespace

// Raw deflate (RFC 1951) of everything after the meta information, PS3.5 A.5.
class FileWriter::Deflater {
 public:
  Deflater() {
    // Negative: no zlib header. Level 3: 16-bit CT hardly shrinks further with more work.
    usable_ = deflateInit2(&stream_, 3, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK;
  }
  ~Deflater() { deflateEnd(&stream_); }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  void Restart() {
    if (usable_) deflateReset(&stream_);
  }

  absl::Status Add(std::string_view bytes, int flush, std::string& out) {
    if (!usable_) return absl::ResourceExhaustedError("no memory for deflate");
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    size_t left = bytes.size();
    int result = Z_OK;
    do {
      const auto piece =
          static_cast<uInt>(std::min<size_t>(left, std::numeric_limits<uInt>::max() / 2));
      stream_.avail_in = piece;
      const bool last = piece == left;
      result = Drain(last ? flush : Z_NO_FLUSH, out);
      left -= piece;
    } while (left > 0 && result >= 0);
    // What RFC 1951 wrote is padded to even length.
    if (flush == Z_FINISH && stream_.total_out % 2 != 0) out.push_back('\0');
    return result < 0 && result != Z_BUF_ERROR
               ? absl::InternalError(absl::StrCat("deflate failed: ", result))
               : absl::OkStatus();
  }

 private:
  int Drain(int flush, std::string& out) {
    constexpr size_t kStep = 64 << 10;
    int result = Z_OK;
    do {
      const size_t before = out.size();
      out.resize(before + kStep);
      stream_.next_out = reinterpret_cast<Bytef*>(out.data() + before);
      stream_.avail_out = kStep;
      result = deflate(&stream_, flush);
      out.resize(before + kStep - stream_.avail_out);
    } while (stream_.avail_out == 0);
    return result;
  }

  z_stream stream_{};
  bool usable_ = false;
};

FileWriter::FileWriter(TransferSyntax syntax, int64_t rows, int64_t columns, int64_t frames)
    : syntax_(syntax), rows_(rows), columns_(columns), frames_(frames) {
  if (syntax == TransferSyntax::kDeflated) deflater_ = std::make_unique<Deflater>();
}

FileWriter::~FileWriter() = default;

absl::Status FileWriter::Emit(std::string_view bytes, std::string& out) {
  if (deflater_ != nullptr) return deflater_->Add(bytes, Z_NO_FLUSH, out);
  out.append(bytes);
  return absl::OkStatus();
}

absl::Status FileWriter::Begin(const InstanceIdentity& identity, std::string_view dataset,
                               std::string& out) {
  AppendFileMeta(identity, out);
  if (deflater_ != nullptr) deflater_->Restart();
  if (absl::Status status = Emit(dataset, out); !status.ok()) return status;
  scratch_.clear();
  if (IsEncapsulated(syntax_)) {
    AppendElementHead(kPixelDataTag, "OB", kUndefinedLength, true, scratch_);
    AppendElementHead(kItemTag, "", 0, false, scratch_);  // an empty Basic Offset Table
  } else {
    const auto length = static_cast<uint32_t>(frames_ * rows_ * columns_ * 2);
    const bool explicit_vr = syntax_ != TransferSyntax::kImplicitLittleEndian;
    AppendElementHead(kPixelDataTag, "OW", length, explicit_vr, scratch_);
  }
  return Emit(scratch_, out);
}

absl::Status FileWriter::Frame(absl::Span<const int16_t> stored, std::string& out) {
  if (!IsEncapsulated(syntax_)) return Emit(AsBytes(stored), out);
  scratch_.clear();
  if (absl::Status status = AppendCompressedFrame(syntax_, rows_, columns_, stored, scratch_);
      !status.ok()) {
    return status;
  }
  if (scratch_.size() % 2 != 0) scratch_.push_back('\0');
  AppendElementHead(kItemTag, "", static_cast<uint32_t>(scratch_.size()), false, out);
  out.append(scratch_);
  return absl::OkStatus();
}

absl::Status FileWriter::End(std::string& out) {
  if (deflater_ != nullptr) return deflater_->Add({}, Z_FINISH, out);
  if (IsEncapsulated(syntax_)) AppendElementHead(kSequenceDelimitationTag, "", 0, false, out);
  return absl::OkStatus();
}

}  // namespace synthvol::imaging::dicom
