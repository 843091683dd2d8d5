#include "server/rpc/synthesis_plan.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/checksum.h"
#include "base/version.h"
#include "imaging/volume.h"
#include "server/rpc/dicom_options.h"
#include "server/rpc/grpc_status.h"

namespace synthvol::server {
namespace {

absl::Status PlanLatentValues(const v1::LatentValues& latent, int64_t dim, SynthesisPlan& plan) {
  if (latent.values_size() != dim) {
    return BadField("latent.values",
                    absl::StrCat("expected ", dim, " values, found ", latent.values_size()));
  }
  for (int i = 0; i < latent.values_size(); ++i) {
    if (!std::isfinite(latent.values(i))) {
      return BadField(absl::StrCat("latent.values[", i, "]"), "expected a finite number");
    }
  }
  plan.latent.assign(latent.values().begin(), latent.values().end());
  const std::string_view bytes(reinterpret_cast<const char*>(plan.latent.data()),
                               plan.latent.size() * sizeof(float));
  plan.latent_name = absl::StrCat("latent ", Sha256Hex(bytes));
  return absl::OkStatus();
}

absl::Status PlanMix(const v1::LatentMix& mix, int64_t dim, SynthesisPlan& plan) {
  if (absl::Status bad = CheckSeed("mix.seed_a", mix.seed_a(), 1); !bad.ok()) return bad;
  if (absl::Status bad = CheckSeed("mix.seed_b", mix.seed_b(), 1); !bad.ok()) return bad;
  if (!(mix.fraction() >= 0.0 && mix.fraction() <= 1.0)) {
    return BadField("mix.fraction", "expected a number in [0, 1]");
  }
  const auto a = model::LatentFromSeed(mix.seed_a(), dim);
  if (!a.ok()) return a.status();
  const auto b = model::LatentFromSeed(mix.seed_b(), dim);
  if (!b.ok()) return b.status();
  auto mixed = model::MixLatents(*a, *b, mix.fraction());
  if (!mixed.ok()) return BadField("mix", absl::string_view(mixed.status().message()));
  plan.latent = *std::move(mixed);
  plan.latent_name =
      absl::StrCat("mix of ", mix.seed_a(), " and ", mix.seed_b(), " at ", mix.fraction());
  return absl::OkStatus();
}

void PlanSeed(uint64_t seed, SynthesisPlan& plan) {
  plan.seed = seed;
  plan.latent_name = absl::StrCat(seed);
}

absl::Status PlanSource(const v1::SynthesizeRequest& request, int64_t dim, SynthesisPlan& plan) {
  using Source = v1::SynthesizeRequest::SourceCase;
  if (request.source_case() == Source::SOURCE_NOT_SET) {
    return BadField("source", "is required: seed, latent or mix");
  }
  if (request.source_case() == Source::kSeed) {
    if (absl::Status bad = CheckSeed("seed", request.seed(), request.count()); !bad.ok()) {
      return bad;
    }
    PlanSeed(request.seed(), plan);
    return absl::OkStatus();
  }
  if (request.count() != 1) {
    return BadField("count", "expected 1 with an explicit latent or a mix");
  }
  return request.source_case() == Source::kLatent ? PlanLatentValues(request.latent(), dim, plan)
                                                  : PlanMix(request.mix(), dim, plan);
}

// Checks and plans what the two kinds of request have in common.
template <typename Request>
absl::Status PlanCommon(const Request& request, const ServableModel& model,
                        const RequestLimits& limits, SynthesisPlan& plan) {
  if (!request.request_id().empty() && !IsName(request.request_id())) {
    return BadField("request_id", "expected [A-Za-z0-9_.-]{1,64}, not starting with a dot");
  }
  if (absl::Status bad = CheckCount(request.count(), request.start_volume(), limits.max_volumes);
      !bad.ok()) {
    return bad;
  }
  const auto precision = ParsePrecision(request.precision());
  if (!precision.ok()) return precision.status();
  if (const absl::Status& status = model.precisions[static_cast<size_t>(*precision)];
      !status.ok()) {
    return BadField("precision", absl::StripPrefix(status.message(), "precision: "));
  }
  const auto priority = ParsePriority(request.priority());
  if (!priority.ok()) return priority.status();
  if (absl::Status bad =
          CheckClassLabel(request.has_class_label(), request.class_label(), model.config);
      !bad.ok()) {
    return bad;
  }
  plan.request_id = request.request_id();
  plan.precision = *precision;
  plan.priority = *priority;
  plan.count = request.count();
  plan.start_volume = request.start_volume();
  plan.class_label = request.has_class_label() ? request.class_label() : -1;
  plan.chunk_bytes = limits.default_chunk_bytes;
  return absl::OkStatus();
}

// Fills and checks the description of the request's series.
absl::Status PlanDicom(const v1::DicomOptions& options, const ServableModel& model,
                       SynthesisPlan& plan) {
  auto description = ToSeriesDescription(options);
  if (!description.ok()) return description.status();
  plan.dicom = *std::move(description);
  imaging::dicom::SeriesDescription& series = plan.dicom;
  const bool mr = model.config.modality == "MR";
  series.modality = mr ? imaging::dicom::Modality::kMr : imaging::dicom::Modality::kCt;
  series.geometry = imaging::CentredCube(model.config.size, model.config.spacing);
  series.window = model.config.window;
  series.model_name = model.name;
  series.model_version = model.version;
  series.model_digest = model.digest;
  series.precision = ToString(plan.precision);
  series.build = Build();
  if (plan.class_label >= 0) series.class_label = plan.class_label;
  series.uid_key = absl::StrCat(model.digest, "|", plan.latent_name, "|", series.precision, "|",
                                plan.class_label, "|", series.build);
  const absl::Status checked = Validate(DescribeSeries(plan, plan.start_volume));
  if (checked.ok()) return checked;
  return CheckedSeriesStatus(checked);
}

}  // namespace

absl::StatusOr<ModelChoice> CheckModelSelector(const v1::ModelSelector& selector) {
  if (selector.name().empty()) return BadField("model.name", "is required");
  if (!IsName(selector.name())) return BadField("model.name", "expected [A-Za-z0-9_.-]{1,64}");
  ModelChoice choice;
  choice.name = selector.name();
  if (selector.has_version()) {
    if (selector.version() <= 0) return BadField("model.version", "expected a positive number");
    choice.version = selector.version();
  } else if (selector.has_label()) {
    if (!IsName(selector.label())) return BadField("model.label", "expected [A-Za-z0-9_.-]{1,64}");
    choice.label = selector.label();
  }
  return choice;
}

absl::StatusOr<SynthesisPlan> PlanSynthesis(const v1::SynthesizeRequest& request,
                                            const ServableModel& model,
                                            const RequestLimits& limits) {
  SynthesisPlan plan;
  if (absl::Status bad = CheckFormat(request.format()); !bad.ok()) return bad;
  if (absl::Status bad = PlanCommon(request, model, limits, plan); !bad.ok()) return bad;
  if (absl::Status bad = PlanSource(request, model.config.latent_dim, plan); !bad.ok()) return bad;
  if (absl::Status bad = CheckChunkBytes(request.max_chunk_bytes()); !bad.ok()) return bad;
  const auto sha256 = ParseDigest(request.digest());
  if (!sha256.ok()) return sha256.status();
  if (request.start_slice() >= static_cast<uint64_t>(model.config.size)) {
    return BadField("start_slice", absl::StrCat("expected 0 .. ", model.config.size - 1, ", found ",
                                                request.start_slice()));
  }
  plan.format = request.format();
  plan.sha256 = *sha256;
  plan.start_slice = request.start_slice();
  if (request.max_chunk_bytes() != 0) plan.chunk_bytes = request.max_chunk_bytes();
  if (request.format() != v1::VOLUME_FORMAT_DICOM) {
    if (request.has_dicom()) return BadField("dicom", "only with format DICOM");
    return plan;
  }
  if (absl::Status bad = PlanDicom(request.dicom(), model, plan); !bad.ok()) return bad;
  return plan;
}

absl::StatusOr<SynthesisPlan> PlanDelivery(const v1::DeliverRequest& request,
                                           const ServableModel& model,
                                           const RequestLimits& limits) {
  SynthesisPlan plan;
  plan.format = v1::VOLUME_FORMAT_DICOM;
  if (absl::Status bad = PlanCommon(request, model, limits, plan); !bad.ok()) return bad;
  if (absl::Status bad = CheckSeed("seed", request.seed(), request.count()); !bad.ok()) return bad;
  PlanSeed(request.seed(), plan);
  if (absl::Status bad = PlanDicom(request.dicom(), model, plan); !bad.ok()) return bad;
  return plan;
}

absl::StatusOr<std::vector<float>> LatentOf(const SynthesisPlan& plan, uint32_t index,
                                            int64_t latent_dim) {
  if (!plan.seed.has_value()) return plan.latent;
  return model::LatentFromSeed(*plan.seed + index, latent_dim);
}

imaging::dicom::SeriesDescription DescribeSeries(const SynthesisPlan& plan, uint32_t index,
                                                 const Draw& draw) {
  imaging::dicom::SeriesDescription description = plan.dicom;
  description.seed_text =
      plan.seed.has_value() ? absl::StrCat(*plan.seed + index) : plan.latent_name;
  // UIDs cover this text: a redrawn or marked file is another than the plain one.
  if (draw.redraws > 0) {
    description.seed_text =
        absl::StrCat(draw.seed, ", redraw ", draw.redraws, " of ", description.seed_text);
  }
  if (draw.implausible) absl::StrAppend(&description.seed_text, " (implausible)");
  description.volume_index = index;
  return description;
}

model::OutputKind OutputKindOf(const SynthesisPlan& plan) {
  return plan.format == v1::VOLUME_FORMAT_FLOAT32 ? model::OutputKind::kUnit
                                                  : model::OutputKind::kStored;
}

int64_t FirstSliceNeeded(const SynthesisPlan& plan, uint32_t start_slice) {
  const bool enhanced = plan.format == v1::VOLUME_FORMAT_DICOM &&
                        plan.dicom.storage == imaging::dicom::Storage::kEnhanced;
  return enhanced ? 0 : start_slice;
}

uint64_t EstimateVolumeBytes(const SynthesisPlan& plan, int64_t size) {
  const uint64_t voxels = static_cast<uint64_t>(size) * size * size;
  // The header of a DICOM slice is about 2 KiB.
  if (plan.format == v1::VOLUME_FORMAT_DICOM) return voxels * 2 + size * 2048;
  return voxels * (plan.format == v1::VOLUME_FORMAT_FLOAT32 ? 4 : 2);
}

}  // namespace synthvol::server
