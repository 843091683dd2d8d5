#include "model/inference/input_check.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace synthvol::model {

absl::Status CheckInput(const ModelConfig& config, const SynthesisInput& input) {
  const auto bad = [](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat(parts...));
  };
  if (static_cast<int64_t>(input.latent.size()) != config.latent_dim) {
    return bad("latent: ", config.latent_dim, " values expected, ", input.latent.size(), " given");
  }
  if (!std::all_of(input.latent.begin(), input.latent.end(),
                   [](float value) { return std::isfinite(value); })) {
    return bad("latent: finite values expected");
  }
  if (config.num_classes == 0 && input.class_label != -1) {
    return bad("class_label: the model is unconditional");
  }
  if (config.num_classes > 0 &&
      (input.class_label < 0 || input.class_label >= config.num_classes)) {
    return bad("class_label: 0 to ", config.num_classes - 1, " expected");
  }
  if (input.start_slice < 0 || input.start_slice >= config.size) {
    return bad("start_slice: 0 to ", config.size - 1, " expected");
  }
  return absl::OkStatus();
}

StoredScale ScaleOf(const imaging::Window& window) {
  return {static_cast<float>((window.high - window.low) / 2.0),
          static_cast<float>((window.high + window.low) / 2.0)};
}

}  // namespace synthvol::model
