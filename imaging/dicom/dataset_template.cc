#include "imaging/dicom/dataset_template.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "dcmtk/dcmdata/dcostrmb.h"
#include "imaging/dicom/element_bytes.h"

namespace synthvol::imaging::dicom {
namespace {

// Encodes a dataset without file meta information, all lengths explicit.
absl::StatusOr<std::string> Encode(DcmDataset& dataset, E_TransferSyntax syntax) {
  std::string bytes(dataset.calcElementLength(syntax, EET_ExplicitLength) + 64, '\0');
  DcmOutputBufferStream stream(bytes.data(), static_cast<offile_off_t>(bytes.size()));
  dataset.transferInit();
  const OFCondition written =
      dataset.write(stream, syntax, EET_ExplicitLength, nullptr, EGL_withoutGL);
  dataset.transferEnd();
  if (written.bad()) {
    return absl::InternalError(absl::StrCat("cannot encode the dataset: ", written.text()));
  }
  void* start = nullptr;
  offile_off_t length = 0;
  stream.flushBuffer(start, length);
  return std::string(static_cast<const char*>(start), static_cast<size_t>(length));
}

}  // namespace

absl::StatusOr<DatasetTemplate> DatasetTemplate::Create(DcmDataset& dataset, bool explicit_vr,
                                                        absl::Span<const uint32_t> varying) {
  absl::StatusOr<std::string> encoded =
      Encode(dataset, explicit_vr ? EXS_LittleEndianExplicit : EXS_LittleEndianImplicit);
  if (!encoded.ok()) return encoded.status();
  DatasetTemplate result(explicit_vr);
  std::string_view rest = *encoded;
  Piece piece;
  while (!rest.empty()) {
    absl::StatusOr<ElementHead> head = ReadElementHead(rest, explicit_vr);
    if (!head.ok()) return head.status();
    const size_t size = head->value_offset + head->length;
    if (result.pieces_.size() < varying.size() && head->tag == varying[result.pieces_.size()]) {
      piece.tag = head->tag;
      piece.vr = std::string(head->vr);
      result.pieces_.push_back(std::exchange(piece, Piece()));
    } else {
      piece.fixed.append(rest.substr(0, size));
    }
    rest.remove_prefix(size);
  }
  if (result.pieces_.size() != varying.size()) {
    return absl::InternalError("an attribute that varies is missing in the dataset");
  }
  result.pieces_.push_back(std::move(piece));
  return result;
}

void DatasetTemplate::Append(absl::Span<const std::string> values, std::string& out) const {
  for (size_t i = 0; i < pieces_.size(); ++i) {
    const Piece& piece = pieces_[i];
    out.append(piece.fixed);
    if (i + 1 == pieces_.size()) break;
    // In implicit syntaxes the template does not know the VR, so padding goes by the tag.
    const bool uid = piece.tag == 0x00080018;
    AppendTextElement(piece.tag,
                      explicit_vr_ ? std::string_view(piece.vr)
                      : uid        ? "UI"
                                   : "DS",
                      values[i], explicit_vr_, out);
  }
}

}  // namespace synthvol::imaging::dicom
