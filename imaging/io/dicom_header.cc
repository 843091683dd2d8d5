#include "imaging/io/dicom_header.h"

#include <gdcmReader.h>
#include <gdcmTransferSyntax.h>
#include <gdcmUIDs.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <set>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace synthvol::imaging {
namespace {

const gdcm::Tag kImageType(0x0008, 0x0008);
const gdcm::Tag kSopInstanceUid(0x0008, 0x0018);
const gdcm::Tag kModality(0x0008, 0x0060);
const gdcm::Tag kPatientId(0x0010, 0x0020);
const gdcm::Tag kSeriesInstanceUid(0x0020, 0x000E);
const gdcm::Tag kImagePosition(0x0020, 0x0032);
const gdcm::Tag kImageOrientation(0x0020, 0x0037);
const gdcm::Tag kNumberOfFrames(0x0028, 0x0008);
const gdcm::Tag kRows(0x0028, 0x0010);
const gdcm::Tag kColumns(0x0028, 0x0011);
const gdcm::Tag kPixelSpacing(0x0028, 0x0030);

std::string Bytes(const gdcm::DataSet& data, const gdcm::Tag& tag) {
  if (!data.FindDataElement(tag)) return "";
  const gdcm::ByteValue* value = data.GetDataElement(tag).GetByteValue();
  if (value == nullptr || value->GetPointer() == nullptr) return "";
  return {value->GetPointer(), static_cast<size_t>(value->GetLength())};
}

// Text without the padding that DICOM puts behind it.
std::string Text(const gdcm::DataSet& data, const gdcm::Tag& tag) {
  std::string text = Bytes(data, tag);
  while (!text.empty() && text.back() == '\0') text.pop_back();
  absl::StripAsciiWhitespace(&text);
  return text;
}

// An unsigned short; GDCM hands it over in the machine's byte order.
int64_t UnsignedShort(const gdcm::DataSet& data, const gdcm::Tag& tag) {
  const std::string bytes = Bytes(data, tag);
  uint16_t value = 0;
  if (bytes.size() >= sizeof(value)) std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

// Decimal strings between backslashes, exactly N of them.
template <size_t N>
std::optional<std::array<double, N>> Decimals(const gdcm::DataSet& data, const gdcm::Tag& tag) {
  const std::string text = Text(data, tag);
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '\\');
  if (parts.size() != N) return std::nullopt;
  std::array<double, N> values{};
  for (size_t i = 0; i < N; ++i) {
    if (!absl::SimpleAtod(absl::StripAsciiWhitespace(parts[i]), &values[i]) ||
        !std::isfinite(values[i])) {
      return std::nullopt;
    }
  }
  return values;
}

}  // namespace

bool DicomHeader::IsLocalizer() const { return absl::StrContains(image_type, "LOCALIZER"); }

bool LooksLikeDicom(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  char magic[4] = {};
  file.seekg(128);
  file.read(magic, sizeof(magic));
  if (file && std::memcmp(magic, "DICM", sizeof(magic)) == 0) return true;
  return absl::EndsWithIgnoreCase(path, ".dcm");
}

absl::StatusOr<DicomHeader> ReadDicomHeader(const std::string& path) {
  gdcm::Reader reader;
  reader.SetFileName(path.c_str());
  static const std::set<gdcm::Tag>& wanted = *new std::set<gdcm::Tag>{
      kImageType,        kSopInstanceUid, kModality, kPatientId, kSeriesInstanceUid, kImagePosition,
      kImageOrientation, kNumberOfFrames, kRows,     kColumns,   kPixelSpacing};
  bool read = false;
  try {
    read = reader.ReadSelectedTags(wanted);
  } catch (const std::exception&) {
    read = false;
  }
  if (!read) return absl::DataLossError(absl::StrCat(path, ": not DICOM, or damaged"));
  const gdcm::DataSet& data = reader.GetFile().GetDataSet();
  DicomHeader header;
  header.file = path;
  header.patient_id = Text(data, kPatientId);
  header.modality = Text(data, kModality);
  header.image_type = Text(data, kImageType);
  header.series_uid = Text(data, kSeriesInstanceUid);
  header.sop_uid = Text(data, kSopInstanceUid);
  header.transfer_syntax_uid =
      gdcm::TransferSyntax::GetTSString(reader.GetFile().GetHeader().GetDataSetTransferSyntax());
  header.rows = UnsignedShort(data, kRows);
  header.columns = UnsignedShort(data, kColumns);
  if (int64_t frames = 0; absl::SimpleAtoi(Text(data, kNumberOfFrames), &frames)) {
    header.frames = frames;
  }
  header.pixel_spacing = Decimals<2>(data, kPixelSpacing);
  header.orientation = Decimals<6>(data, kImageOrientation);
  header.position = Decimals<3>(data, kImagePosition);
  return header;
}

std::string TransferSyntaxName(const std::string& uid) {
  const char* name = gdcm::UIDs::GetUIDName(gdcm::UIDs::TSName(0));
  gdcm::UIDs uids;
  if (uids.SetFromUID(uid.c_str())) name = uids.GetName();
  return name == nullptr ? uid : absl::StrCat(name, " (", uid, ")");
}

}  // namespace synthvol::imaging
