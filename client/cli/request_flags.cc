#include <google/protobuf/descriptor.h>

#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"

namespace synthvol::client {
namespace {

constexpr uint64_t kLargestSeed = 0xFFFFFFFF;
// More than any data set; a slip of the keyboard is told from a wish here.
constexpr uint64_t kLargestCount = 1000000;

// Sets a field of DicomAttributes by its name in the API.
absl::Status SetAttribute(const std::string& text, v1::DicomAttributes& attributes) {
  const auto* descriptor = v1::DicomAttributes::descriptor();
  const size_t equals = text.find('=');
  const auto* field =
      equals == std::string::npos ? nullptr : descriptor->FindFieldByName(text.substr(0, equals));
  if (field == nullptr) {
    std::vector<std::string> names;
    names.reserve(static_cast<size_t>(descriptor->field_count()));
    for (int i = 0; i < descriptor->field_count(); ++i)
      names.push_back(descriptor->field(i)->name());
    return absl::InvalidArgumentError(absl::StrCat("--dicom-attribute ", text,
                                                   ": expected NAME=VALUE with NAME one of ",
                                                   absl::StrJoin(names, ", ")));
  }
  const std::string value = text.substr(equals + 1);
  if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING) {
    attributes.GetReflection()->SetString(&attributes, field, value);
    return absl::OkStatus();
  }
  int32_t number = 0;
  if (!absl::SimpleAtoi(value, &number)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--dicom-attribute ", text, ": expected a number"));
  }
  attributes.GetReflection()->SetInt32(&attributes, field, number);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::ModelSelector> ParseModel(const std::string& text) {
  v1::ModelSelector selector;
  const size_t at = text.find('@');
  selector.set_name(text.substr(0, at));
  const std::string rest = at == std::string::npos ? "" : text.substr(at + 1);
  if (selector.name().empty() || (at != std::string::npos && rest.empty())) {
    return absl::InvalidArgumentError(
        absl::StrCat("--model ", text, ": expected NAME, NAME@VERSION or NAME@LABEL"));
  }
  int64_t version = 0;
  if (absl::SimpleAtoi(rest, &version)) {
    if (version < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("--model ", text, ": expected a version of 1 or more"));
    }
    selector.set_version(version);
  } else if (!rest.empty()) {
    selector.set_label(rest);
  }
  return selector;
}

void RequestFlags::AddTo(CLI::App& command) {
  command.add_option("--model", model_, "Model: NAME, NAME@VERSION or NAME@LABEL")
      ->required()
      ->type_name("NAME[@VERSION]")
      ->envname("SYNTHVOL_MODEL");
  command.add_option("--seed", seed_, "Seed of the first volume; volume i has SEED + i")
      ->check(CLI::Range(uint64_t{0}, kLargestSeed).description(""))
      ->type_name("0..4294967295");
  command.add_option("--count", count_, "How many volumes, 1 to 1000000")
      ->check(CLI::Range(uint64_t{1}, kLargestCount).description(""))
      ->type_name("N");
  class_option_ =
      command.add_option("--class-label", class_label_, "Class, for a model that has classes")
          ->check(CLI::Validator(CLI::NonNegativeNumber).description(""))
          ->type_name("N");
  command.add_option("--precision", precision_, "Arithmetic; auto lets the server choose")
      ->check(CLI::IsMember({"auto", "fp32", "bf16", "tf32"}))
      ->type_name("WORD");
  command.add_option("--priority", priority_, "Place in the server's queue")
      ->check(CLI::IsMember({"low", "normal", "high"}))
      ->type_name("WORD");
}

void RequestFlags::AddDigestTo(CLI::App& command) {
  command.add_option("--digest", digest_, "Checksum of whole volumes; crc32c is quicker")
      ->check(CLI::IsMember({"sha256", "crc32c"}))
      ->type_name("WORD");
}

absl::StatusOr<v1::SynthesizeRequest> RequestFlags::Request() const {
  v1::SynthesizeRequest request;
  absl::StatusOr<v1::ModelSelector> selector = ParseModel(model_);
  if (!selector.ok()) return selector.status();
  *request.mutable_model() = *std::move(selector);
  if (count_ - 1 > kLargestSeed - seed_) {
    return absl::InvalidArgumentError(
        absl::StrCat("--count ", count_, ": seeds end at ", kLargestSeed, ", so from --seed ",
                     seed_, " at most ", kLargestSeed - seed_ + 1, " volumes"));
  }
  request.set_seed(seed_);
  if (class_option_->count() > 0) request.set_class_label(class_label_);
  if (precision_ == "fp32") request.set_precision(v1::PRECISION_FP32);
  if (precision_ == "bf16") request.set_precision(v1::PRECISION_BF16);
  if (precision_ == "tf32") request.set_precision(v1::PRECISION_TF32);
  if (priority_ == "low") request.set_priority(v1::PRIORITY_LOW);
  if (priority_ == "high") request.set_priority(v1::PRIORITY_HIGH);
  request.set_digest(digest_ == "crc32c" ? v1::VOLUME_DIGEST_CRC32C : v1::VOLUME_DIGEST_SHA256);
  return request;
}

void DicomFlags::AddTo(CLI::App& command) {
  constexpr char kGroup[] = "DICOM";
  command
      .add_option("--dicom-storage", storage_, "One instance a slice, or one Enhanced CT a volume")
      ->check(CLI::IsMember({"slices", "enhanced"}))
      ->type_name("WORD")
      ->group(kGroup);
  command.add_option("--transfer-syntax", transfer_syntax_, "Encoding of the instances")
      ->check(CLI::IsMember({"explicit", "implicit", "deflated", "rle", "jpeg-ls"}))
      ->type_name("WORD")
      ->group(kGroup);
  command.add_option("--grouping", grouping_, "A series or a study per volume")
      ->check(CLI::IsMember({"series", "study"}))
      ->type_name("WORD")
      ->group(kGroup);
  command
      .add_option("--dicom-attribute", attributes_,
                  "Attribute by its name in the API, e.g. patient_id=SYN1; may be repeated")
      ->type_name("NAME=VALUE")
      ->take_all()
      ->group(kGroup);
}

absl::StatusOr<v1::DicomOptions> DicomFlags::Options() const {
  v1::DicomOptions options;
  options.set_storage(storage_ == "enhanced" ? v1::DICOM_STORAGE_ENHANCED
                                             : v1::DICOM_STORAGE_SLICES);
  options.set_grouping(grouping_ == "study" ? v1::DICOM_GROUPING_STUDY_PER_VOLUME
                                            : v1::DICOM_GROUPING_SERIES_PER_VOLUME);
  const std::pair<const char*, v1::DicomTransferSyntax> syntaxes[] = {
      {"explicit", v1::DICOM_TRANSFER_SYNTAX_EXPLICIT_LITTLE_ENDIAN},
      {"implicit", v1::DICOM_TRANSFER_SYNTAX_IMPLICIT_LITTLE_ENDIAN},
      {"deflated", v1::DICOM_TRANSFER_SYNTAX_DEFLATED},
      {"rle", v1::DICOM_TRANSFER_SYNTAX_RLE_LOSSLESS},
      {"jpeg-ls", v1::DICOM_TRANSFER_SYNTAX_JPEG_LS_LOSSLESS}};
  for (const auto& [name, syntax] : syntaxes) {
    if (transfer_syntax_ == name) options.set_transfer_syntax(syntax);
  }
  for (const std::string& attribute : attributes_) {
    if (absl::Status status = SetAttribute(attribute, *options.mutable_attributes());
        !status.ok()) {
      return status;
    }
  }
  return options;
}

}  // namespace synthvol::client
