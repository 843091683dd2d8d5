#include "imaging/dicom/series_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <thread>
#include <vector>

#include "imaging/dicom/value_representation.h"
#include "tests/imaging_dicom/synthetic_volume.h"

namespace synthvol::imaging::dicom {
namespace {

using testing::HasSubstr;
using Change = std::function<void(SeriesDescription&)>;

struct Refusal {
  const char* message;
  Change change;
};

// One bad thing each, and a part of the message that a caller must get.
const std::vector<Refusal>& Refusals() {
  static const auto* const refusals = new std::vector<Refusal>{
      {"dicom.attributes.patient_name: control characters",
       [](auto& d) { d.attributes.patient_name = "Doe\r\nX"; }},
      {"dicom.attributes.patient_name: expected UTF-8",
       [](auto& d) { d.attributes.patient_name = "M\xfcller"; }},
      {"dicom.attributes.patient_id: expected at most 64 characters, got 100000",
       [](auto& d) { d.attributes.patient_id.assign(100000, '7'); }},
      {"dicom.attributes.patient_birth_date: expected a date",
       [](auto& d) { d.attributes.patient_birth_date = "19700231"; }},
      {"dicom.attributes.patient_sex: expected M, F or O",
       [](auto& d) { d.attributes.patient_sex = "X"; }},
      {"dicom.attributes.study_instance_uid: expected a UID",
       [](auto& d) { d.attributes.study_instance_uid = "1.2.003"; }},
      {"dicom.attributes.study_instance_uid: one UID cannot name several studies",
       [](auto& d) {
         d.attributes.study_instance_uid = "1.2.3";
         d.grouping = Grouping::kStudyPerVolume;
       }},
      {"dicom.attributes.study_id: expected at most 16",
       [](auto& d) { d.attributes.study_id.assign(17, 'x'); }},
      {"dicom.attributes.study_date: expected a date",
       [](auto& d) { d.attributes.study_date = "tomorrow"; }},
      {"dicom.attributes.study_time: expected a time",
       [](auto& d) { d.attributes.study_time = "25"; }},
      {"dicom.attributes.study_description: a backslash",
       [](auto& d) { d.attributes.study_description = "a\\b"; }},
      {"dicom.attributes.accession_number: expected at most 16",
       [](auto& d) { d.attributes.accession_number.assign(17, '1'); }},
      {"dicom.attributes.referring_physician_name: expected a person name",
       [](auto& d) { d.attributes.referring_physician_name = "a^b^c^d^e^f"; }},
      {"dicom.attributes.series_description: expected at most 54",
       [](auto& d) { d.attributes.series_description.assign(55, 'x'); }},
      {"dicom.attributes.series_number: expected 0 or more",
       [](auto& d) { d.attributes.series_number = -1; }},
      {"dicom.storage: ENHANCED",
       [](auto& d) {
         d.storage = Storage::kEnhanced;
         d.modality = Modality::kMr;
       }},
      {"dicom.storage: the volume is larger",
       [](auto& d) {
         d.storage = Storage::kEnhanced;
         d.geometry.size = {2048, 2048, 2048};
       }},
      {"geometry.size", [](auto& d) { d.geometry.size[2] = 0; }},
      {"geometry.size", [](auto& d) { d.geometry.size[0] = 65536; }},
      {"geometry.spacing", [](auto& d) { d.geometry.spacing[1] = 0; }},
      {"geometry.spacing", [](auto& d) { d.geometry.spacing[1] = std::nan(""); }},
      {"geometry.origin",
       [](auto& d) { d.geometry.origin[0] = std::numeric_limits<double>::infinity(); }},
      {"geometry.direction", [](auto& d) { d.geometry.direction = {1, 0, 0, 1, 0, 0, 0, 0, 1}; }},
      {"geometry.direction", [](auto& d) { d.geometry.direction[0] = std::nan(""); }},
      {"model name", [](auto& d) { d.model_name = "a\tb"; }},
      {"model digest", [](auto& d) { d.model_digest = "ABC"; }},
      {"seed text", [](auto& d) { d.seed_text = "4\n2"; }},
      {"body part", [](auto& d) { d.body_part = "TAIL"; }},
      {"window",
       [](auto& d) {
         d.window = {5, 5};
       }},
      {"UID key", [](auto& d) { d.uid_key.clear(); }},
  };
  return *refusals;
}

TEST(SeriesEncoderTest, RefusesBadDescriptionsByFieldPath) {
  for (const Refusal& refusal : Refusals()) {
    SeriesDescription description = SyntheticDescription();
    refusal.change(description);
    const absl::Status status = SeriesEncoder::Create(description).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << refusal.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(refusal.message));
    // A value may be a person's: it does not come back in the message, and messages stay one line.
    EXPECT_LT(status.message().size(), 200u);
    EXPECT_EQ(status.message().find('\n'), absl::string_view::npos);
  }
}

std::vector<std::string> EncodeAll(SeriesEncoder& encoder, const Volume& volume) {
  std::vector<std::string> files(static_cast<size_t>(encoder.instance_count()));
  const size_t plane = static_cast<size_t>(volume.geometry.size[0] * volume.geometry.size[1]);
  EncodedSlice slice;
  for (int64_t z = 0; z < encoder.slice_count(); ++z) {
    const absl::Status status = encoder.EncodeSlice(
        z, absl::MakeConstSpan(volume.voxels).subspan(z * plane, plane), &slice);
    EXPECT_TRUE(status.ok()) << status;
    files[static_cast<size_t>(slice.instance)].append(slice.bytes);
  }
  return files;
}

class StorageTest : public testing::TestWithParam<std::tuple<Storage, TransferSyntax>> {
 protected:
  StorageTest() : description_(SyntheticDescription()) {
    description_.storage = std::get<0>(GetParam());
    description_.transfer_syntax = std::get<1>(GetParam());
  }
  SeriesDescription description_;
};

TEST_P(StorageTest, SameBytesEachTimeAndInParallel) {
  const Volume volume = SyntheticVolume();
  std::vector<std::vector<std::string>> results(3);
  std::vector<std::thread> threads;
  for (std::vector<std::string>& result : results) {
    threads.emplace_back([&] {
      auto encoder = SeriesEncoder::Create(description_);
      ASSERT_TRUE(encoder.ok()) << encoder.status();
      result = EncodeAll(**encoder, volume);
      // The second time over it starts afresh.
      EXPECT_EQ(EncodeAll(**encoder, volume), result);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(results[1], results[0]);
  EXPECT_EQ(results[2], results[0]);
  for (const std::string& file : results[0]) {
    ASSERT_GT(file.size(), 132u);
    EXPECT_EQ(file.substr(128, 4), "DICM");
    EXPECT_EQ(file.size() % 2, 0u);
  }
}

TEST_P(StorageTest, RefusesWrongSlicesAndGoesOn) {
  auto encoder = SeriesEncoder::Create(description_);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  const Volume volume = SyntheticVolume();
  const std::vector<std::string> expected = EncodeAll(**encoder, volume);
  const std::vector<int16_t> plane(40 * 32);
  EncodedSlice slice;
  const auto refuse = [&](int64_t index, absl::Span<const int16_t> stored, const char* message) {
    const absl::Status status = (*encoder)->EncodeSlice(index, stored, &slice);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  };
  refuse(-1, plane, "slice -1: expected 0..23");
  refuse(24, plane, "slice 24: expected 0..23");
  refuse(0, absl::MakeConstSpan(plane).subspan(1), "expected 40 x 32 = 1280 voxels, got 1279");
  refuse(0, {}, "got 0");
  if (description_.storage == Storage::kEnhanced) refuse(5, plane, "takes slices in order");
  EXPECT_EQ(EncodeAll(**encoder, volume), expected);
}

INSTANTIATE_TEST_SUITE_P(All, StorageTest,
                         testing::Combine(testing::Values(Storage::kSlices, Storage::kEnhanced),
                                          testing::Values(TransferSyntax::kExplicitLittleEndian,
                                                          TransferSyntax::kImplicitLittleEndian,
                                                          TransferSyntax::kDeflated,
                                                          TransferSyntax::kRleLossless,
                                                          TransferSyntax::kJpegLsLossless)));

TEST(SeriesEncoderTest, SlicesComeInAnyOrder) {
  auto encoder = SeriesEncoder::Create(SyntheticDescription());
  ASSERT_TRUE(encoder.ok());
  const Volume volume = SyntheticVolume();
  const std::vector<std::string> expected = EncodeAll(**encoder, volume);
  EncodedSlice slice;
  for (const int64_t z : {23, 7, 7, 0}) {
    const auto plane = absl::MakeConstSpan(volume.voxels).subspan(z * 1280, 1280);
    ASSERT_TRUE((*encoder)->EncodeSlice(z, plane, &slice).ok());
    EXPECT_TRUE(slice.first_of_instance && slice.last_of_instance);
    EXPECT_EQ(slice.bytes, expected[static_cast<size_t>(z)]);
  }
  EXPECT_EQ((*encoder)->FileName(0), "IM0001.dcm");
}

// The "different seed, model, geometry or options, different UIDs".
TEST(SeriesUidsTest, EveryFieldCounts) {
  const std::vector<Change> changes = {
      [](auto&) {},
      [](auto& d) { d.storage = Storage::kEnhanced; },
      [](auto& d) { d.transfer_syntax = TransferSyntax::kRleLossless; },
      [](auto& d) { d.grouping = Grouping::kStudyPerVolume; },
      [](auto& d) { d.modality = Modality::kMr; },
      [](auto& d) { d.body_part = "HEAD"; },
      [](auto& d) { d.geometry.size[0] = 41; },
      [](auto& d) { d.geometry.spacing[2] = std::nextafter(d.geometry.spacing[2], 9); },
      [](auto& d) { d.geometry.origin[1] = 0; },
      [](auto& d) { d.geometry.direction = {0, 1, 0, 1, 0, 0, 0, 0, 1}; },
      [](auto& d) { d.window.high = 601; },
      [](auto& d) { d.attributes.patient_name = "A"; },
      [](auto& d) { d.attributes.patient_id = "A"; },
      [](auto& d) { d.attributes.patient_birth_date = "20000101"; },
      [](auto& d) { d.attributes.patient_sex = "F"; },
      [](auto& d) { d.attributes.study_id = "A"; },
      [](auto& d) { d.attributes.study_date = "20000101"; },
      [](auto& d) { d.attributes.study_time = "12"; },
      [](auto& d) { d.attributes.study_description = "A"; },
      [](auto& d) { d.attributes.accession_number = "A"; },
      [](auto& d) { d.attributes.referring_physician_name = "A"; },
      [](auto& d) { d.attributes.series_description = "A"; },
      [](auto& d) { d.attributes.series_number = 2; },
      [](auto& d) { d.model_name = "other"; },
      [](auto& d) { d.model_version = 4; },
      [](auto& d) { d.model_digest[0] = 'b'; },
      [](auto& d) { d.class_label = 0; },
      [](auto& d) { d.precision = "bf16"; },
      [](auto& d) { d.build = "0.1.1"; },
      [](auto& d) { d.uid_key = "other request"; },
  };
  std::set<std::string> all;
  size_t expected = 0;
  for (const Change& change : changes) {
    SeriesDescription description = SyntheticDescription();
    change(description);
    const SeriesUids uids(description);
    for (const std::string& uid :
         {uids.study(), uids.series(), uids.frame_of_reference(), uids.dimension_organization(),
          uids.synthesis_event(), uids.Instance(0), uids.Instance(1)}) {
      EXPECT_TRUE(CheckValue("uid", Vr::kUi, uid).ok()) << uid;
      EXPECT_EQ(uid.size(), 44u);
      all.insert(uid);
      ++expected;
    }
    EXPECT_EQ(SeriesUids(description).Instance(5), uids.Instance(5));
  }
  EXPECT_EQ(all.size(), expected);
}

TEST(SeriesUidsTest, VolumesShareAStudyUnlessAskedOtherwise) {
  SeriesDescription first = SyntheticDescription();
  SeriesDescription second = first;
  second.volume_index = 1;
  second.seed_text = "43";
  EXPECT_EQ(SeriesUids(first).study(), SeriesUids(second).study());
  EXPECT_EQ(SeriesUids(first).study_token(), SeriesUids(second).study_token());
  EXPECT_NE(SeriesUids(first).series(), SeriesUids(second).series());
  first.grouping = second.grouping = Grouping::kStudyPerVolume;
  EXPECT_NE(SeriesUids(first).study(), SeriesUids(second).study());
  first.grouping = Grouping::kSeriesPerVolume;
  first.attributes.study_instance_uid = "1.2.3";
  EXPECT_EQ(SeriesUids(first).study(), "1.2.3");
}

}  // namespace
}  // namespace synthvol::imaging::dicom
