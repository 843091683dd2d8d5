#include "model/eval/study/build.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/atomic_file.h"
#include "base/checksum.h"
#include "base/progress_bar.h"
#include "imaging/nifti.h"
#include "model/eval/statistics/resampling.h"
#include "model/eval/study/page_files.h"

namespace synthvol::model {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::array<const char*, 3> kPlanes = {"axial", "coronal", "sagittal"};
constexpr size_t kIdLength = 16;

// A volume that the study shows: where it is from and what it is called on the page.
struct Shown {
  VolumeSet* set = nullptr;
  int64_t index = 0;
  std::string source;
  std::string id;
};

// Compresses to a gzip stream without a name or a time in it.
absl::StatusOr<std::string> Gzip(const std::string& data) {
  z_stream stream{};
  constexpr int kGzipWindow = 15 + 16;
  if (deflateInit2(&stream, 6, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    return absl::InternalError("zlib cannot start");
  }
  std::string out(deflateBound(&stream, data.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (result != Z_STREAM_END) return absl::InternalError("zlib cannot compress the volume");
  return out;
}

// Returns the script that hands a volume to the page: NIfTI in stored units, gzip, base64.
absl::StatusOr<std::string> VolumeScript(const Shown& shown, const std::array<double, 3>& spacing) {
  const auto unit = shown.set->Load(shown.index);
  if (!unit.ok()) return unit.status();
  const auto header = imaging::FormatNiftiHeader(imaging::CentredCube(shown.set->size(), spacing),
                                                 imaging::VoxelType::kInt16);
  if (!header.ok()) return header.status();
  std::string nifti = *header;
  nifti.reserve(nifti.size() + 2 * unit->size());
  for (const float value : *unit) {
    const auto stored = static_cast<uint16_t>(shown.set->window().ToStored(value));
    nifti.push_back(static_cast<char>(stored & 0xff));
    nifti.push_back(static_cast<char>(stored >> 8));
  }
  const auto compressed = Gzip(nifti);
  if (!compressed.ok()) return compressed.status();
  return absl::StrCat("synthvolReceive('", shown.id, "','", absl::Base64Escape(*compressed),
                      "');\n");
}

// Draws volumes of a set without replacement and names them.
absl::StatusOr<std::vector<Shown>> Draw(VolumeSet& set, const std::string& source, int64_t count,
                                        const StudyOptions& options, Resampler& resampler) {
  if (set.count() < count) {
    return absl::InvalidArgumentError(absl::StrCat(source, " volumes: the study needs ", count,
                                                   ", found ", set.count(), " in ",
                                                   set.Describe()));
  }
  std::vector<int64_t> order = resampler.Permutation(set.count());
  std::vector<Shown> drawn;
  for (int64_t i = 0; i < count; ++i) {
    const std::string secret =
        absl::StrCat(options.seed, "|", source, "|", order[i], "|", set.Describe());
    drawn.push_back({&set, order[i], source, Sha256Hex(secret).substr(0, kIdLength)});
  }
  return drawn;
}

struct Plan {
  StudyKey key;
  json page;
  std::vector<Shown> volumes;
};

void AddPair(StudyPart part, const Shown& first, const Shown& second, Resampler& resampler,
             Plan& plan) {
  const std::string id = absl::StrFormat("pair-%03d", plan.key.pairs.size() + 1);
  plan.key.pairs.push_back({id, part, first.id, second.id});
  // The page must not learn which is which from their order.
  std::array<std::string, 2> volumes = {first.id, second.id};
  if (resampler.Index(2) == 1) std::swap(volumes[0], volumes[1]);
  plan.page["pairs"].push_back({{"id", id},
                                {"part", ToString(part)},
                                {"volumes", volumes},
                                {"plane", kPlanes[resampler.Index(3)]},
                                // The middle of the body: ends are often cut.
                                {"position", 0.3 + 0.004 * resampler.Index(101)}});
  for (const Shown* shown : {&first, &second}) {
    plan.volumes.push_back(*shown);
    plan.key.volumes[shown->id] =
        absl::StrCat(shown->source, ": ", shown->set->NameOf(shown->index));
  }
}

absl::StatusOr<Plan> MakePlan(VolumeSet& real, VolumeSet& first, VolumeSet& second,
                              const StudyOptions& options) {
  Resampler resampler(options.seed);
  const auto reals = Draw(real, "real", options.real_pairs, options, resampler);
  if (!reals.ok()) return reals.status();
  const auto firsts = Draw(first, options.first_label,
                           options.real_pairs + options.preference_pairs, options, resampler);
  if (!firsts.ok()) return firsts.status();
  const auto seconds =
      Draw(second, options.second_label, options.preference_pairs, options, resampler);
  if (!seconds.ok()) return seconds.status();

  Plan plan;
  plan.key.seed = options.seed;
  plan.key.first_label = options.first_label;
  plan.key.second_label = options.second_label;
  plan.key.study = Sha256Hex(absl::StrCat("study|", options.seed, "|", first.Describe(), "|",
                                          second.Describe(), "|", real.Describe()))
                       .substr(0, kIdLength);
  plan.page = {{"format", 1},           {"study", plan.key.study},
               {"mode", options.mode},  {"modality", first.modality()},
               {"size", first.size()},  {"window", {first.window().low, first.window().high}},
               {"pairs", json::array()}};
  for (int64_t i = 0; i < options.real_pairs; ++i) {
    AddPair(StudyPart::kRealOrSynthetic, (*reals)[i], (*firsts)[i], resampler, plan);
  }
  for (int64_t i = 0; i < options.preference_pairs; ++i) {
    AddPair(StudyPart::kPreference, (*firsts)[options.real_pairs + i], (*seconds)[i], resampler,
            plan);
  }
  return plan;
}

absl::Status WritePage(const std::string& folder, const Plan& plan, const StudyOptions& options) {
  for (const PageFile& file : PageFiles()) {
    std::string content(file.content);
    if (file.name == "niivue.umd.js" && !options.viewer.empty()) {
      auto viewer = ReadFile(options.viewer, 64 << 20);
      if (!viewer.ok()) return viewer.status();
      content = *std::move(viewer);
    }
    if (content.empty()) {
      return absl::FailedPreconditionError(
          "this build has no NiiVue: pass --viewer niivue.umd.js, or run scripts/setup --tests "
          "(which needs npm) and build again");
    }
    if (auto status = WriteFileAtomically(absl::StrCat(folder, "/", file.name), content);
        !status.ok()) {
      return status;
    }
  }
  return WriteFileAtomically(folder + "/study-data.js",
                             absl::StrCat("window.SYNTHVOL_STUDY = ", plan.page.dump(), ";\n"));
}

// Writes the volumes' scripts in the order of their names and pads them to one length: neither
// times nor sizes tell a noisy real scan from a smooth synthetic one.
absl::Status WriteVolumes(const std::string& folder, Plan& plan) {
  std::error_code error;
  fs::create_directory(folder, error);
  const auto by_id = [](const Shown& a, const Shown& b) { return a.id < b.id; };
  std::sort(plan.volumes.begin(), plan.volumes.end(), by_id);
  const std::array<double, 3> spacing = plan.volumes.front().set->spacing();
  ProgressBar progress("study", "volumes", plan.volumes.size());
  uintmax_t longest = 0;
  for (const Shown& shown : plan.volumes) {
    const auto script = VolumeScript(shown, spacing);
    if (!script.ok()) return script.status();
    const std::string path = absl::StrCat(folder, "/", shown.id, ".js");
    if (auto status = WriteFileAtomically(path, *script); !status.ok()) return status;
    longest = std::max<uintmax_t>(longest, script->size());
    progress.Advance();
  }
  for (const Shown& shown : plan.volumes) {
    const std::string path = absl::StrCat(folder, "/", shown.id, ".js");
    auto script = ReadFile(path);
    if (!script.ok()) return script.status();
    script->resize(longest, '\n');
    if (auto status = WriteFileAtomically(path, *script); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// Tells whether `path` would lie inside `folder`.
bool IsInside(const std::string& path, const std::string& folder) {
  const fs::path inner = fs::weakly_canonical(path);
  const fs::path outer = fs::weakly_canonical(folder);
  const auto [end, rest] = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  return end == outer.end();
}

}  // namespace

absl::StatusOr<StudyKey> BuildStudy(VolumeSet& real, VolumeSet& first, VolumeSet& second,
                                    const StudyOptions& options, const std::string& output,
                                    const std::string& key_path) {
  if (IsInside(key_path, output)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--key ", key_path, ": must lie outside the folder that readers get, ", output));
  }
  if (options.real_pairs + options.preference_pairs < 1) {
    return absl::InvalidArgumentError("a study needs at least one pair");
  }
  for (const VolumeSet* set : {&real, &second}) {
    if (auto status = CheckComparable(first, *set); !status.ok()) return status;
  }
  auto plan = MakePlan(real, first, second, options);
  if (!plan.ok()) return plan.status();
  auto directory = AtomicDirectory::Create(output);
  if (!directory.ok()) return directory.status();
  const std::string& folder = directory->temporary_path();
  if (auto status = WritePage(folder, *plan, options); !status.ok()) return status;
  if (auto status = WriteVolumes(folder + "/volumes", *plan); !status.ok()) return status;
  // The key first: a folder without its key would be worthless.
  if (auto status = WriteFileAtomically(key_path, ToJson(plan->key)); !status.ok()) return status;
  if (auto status = directory->Commit(); !status.ok()) return status;
  return plan->key;
}

}  // namespace synthvol::model
