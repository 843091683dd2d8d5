#include "imaging/dicom/series_encoder.h"

#include <array>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "imaging/dicom/dataset_template.h"
#include "imaging/dicom/dcmtk_runtime.h"
#include "imaging/dicom/file_writer.h"
#include "imaging/dicom/modules.h"
#include "imaging/dicom/slice_geometry.h"
#include "imaging/dicom/value_representation.h"

namespace synthvol::imaging::dicom {
namespace {

// What differs between the slices of a series, in ascending order.
constexpr std::array<uint32_t, 4> kVaryingTags = {
    0x00080018,  // SOP Instance UID
    0x00200013,  // Instance Number
    0x00200032,  // Image Position (Patient)
    0x00201041,  // Slice Location
};

// The values of kVaryingTags for slice `index`.
std::array<std::string, 4> VaryingValues(const Geometry& geometry, const std::string& instance_uid,
                                         int64_t index) {
  const std::array<double, 3> position = ImagePosition(geometry, index);
  return {instance_uid, absl::StrCat(index + 1),
          absl::StrCat(FormatDecimalString(position[0]), "\\", FormatDecimalString(position[1]),
                       "\\", FormatDecimalString(position[2])),
          FormatDecimalString(SliceLocation(geometry, index))};
}

}  // namespace

struct SeriesEncoder::State {
  State(const SeriesDescription& d, DatasetTemplate shared)
      : description(d),
        series_uids(d),
        dataset(std::move(shared)),
        writer(d.transfer_syntax, d.geometry.size[1], d.geometry.size[0],
               d.storage == Storage::kEnhanced ? d.geometry.size[2] : 1) {}

  bool enhanced() const { return description.storage == Storage::kEnhanced; }

  const SeriesDescription description;
  const SeriesUids series_uids;
  const DatasetTemplate dataset;
  FileWriter writer;
  // Enhanced: the frame that comes next.
  int64_t next_frame = 0;
  // The encoded dataset of the file being started; kept for its memory.
  std::string header;
};

SeriesEncoder::SeriesEncoder(std::unique_ptr<State> state) : state_(std::move(state)) {}
SeriesEncoder::~SeriesEncoder() = default;

absl::StatusOr<std::unique_ptr<SeriesEncoder>> SeriesEncoder::Create(
    const SeriesDescription& description) {
  if (absl::Status status = Validate(description); !status.ok()) return status;
  if (absl::Status status = StartDcmtk(); !status.ok()) return status;
  const SeriesUids uids(description);
  DcmDataset dataset;
  if (absl::Status status = AddAllModules({description, uids}, dataset); !status.ok())
    return status;
  absl::Span<const uint32_t> varying = kVaryingTags;
  if (description.storage == Storage::kEnhanced) varying = {};
  absl::StatusOr<DatasetTemplate> header = DatasetTemplate::Create(
      dataset, description.transfer_syntax != TransferSyntax::kImplicitLittleEndian, varying);
  if (!header.ok()) return header.status();
  return std::unique_ptr<SeriesEncoder>(
      new SeriesEncoder(std::make_unique<State>(description, *std::move(header))));
}

absl::Status SeriesEncoder::EncodeSlice(int64_t index, absl::Span<const int16_t> stored,
                                        EncodedSlice* slice) {
  State& s = *state_;
  const Geometry& geometry = s.description.geometry;
  if (index < 0 || index >= slice_count()) {
    return absl::InvalidArgumentError(
        absl::StrCat("slice ", index, ": expected 0..", slice_count() - 1));
  }
  const int64_t expected = geometry.size[0] * geometry.size[1];
  if (static_cast<int64_t>(stored.size()) != expected) {
    return absl::InvalidArgumentError(absl::StrCat("slice ", index, ": expected ", geometry.size[0],
                                                   " x ", geometry.size[1], " = ", expected,
                                                   " voxels, got ", stored.size()));
  }
  if (s.enhanced() && index != 0 && index != s.next_frame) {
    return absl::InvalidArgumentError(absl::StrCat(
        "slice ", index, ": a multi-frame instance takes slices in order; expected 0 or ",
        s.next_frame));
  }
  slice->instance = s.enhanced() ? 0 : index;
  slice->first_of_instance = !s.enhanced() || index == 0;
  slice->last_of_instance = !s.enhanced() || index + 1 == slice_count();
  slice->bytes.clear();
  if (slice->first_of_instance) {
    const InstanceIdentity identity = Identity(slice->instance);
    s.header.clear();
    if (s.enhanced()) {
      s.dataset.Append({}, s.header);
    } else {
      s.dataset.Append(VaryingValues(geometry, identity.sop_instance_uid, index), s.header);
    }
    if (absl::Status status = s.writer.Begin(identity, s.header, slice->bytes); !status.ok()) {
      return status;
    }
  }
  if (absl::Status status = s.writer.Frame(stored, slice->bytes); !status.ok()) return status;
  s.next_frame = slice->last_of_instance ? 0 : index + 1;
  return slice->last_of_instance ? s.writer.End(slice->bytes) : absl::OkStatus();
}

int64_t SeriesEncoder::slice_count() const { return state_->description.geometry.size[2]; }

int64_t SeriesEncoder::instance_count() const { return state_->enhanced() ? 1 : slice_count(); }

InstanceIdentity SeriesEncoder::Identity(int64_t instance) const {
  const SeriesDescription& d = state_->description;
  return {StorageClassUid(d.storage, d.modality), state_->series_uids.Instance(instance),
          TransferSyntaxUid(d.transfer_syntax)};
}

std::string SeriesEncoder::FileName(int64_t instance) const {
  return absl::StrFormat("IM%04d.dcm", instance + 1);
}

const SeriesUids& SeriesEncoder::uids() const { return state_->series_uids; }

}  // namespace synthvol::imaging::dicom
