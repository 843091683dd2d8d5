// What every device checks of a request, and the window as the kernels take it.
#ifndef SYNTHVOL_MODEL_INFERENCE_INPUT_CHECK_H_
#define SYNTHVOL_MODEL_INFERENCE_INPUT_CHECK_H_

#include "absl/status/status.h"
#include "model/checkpoint/checkpoint.h"
#include "model/kernels/kernels.h"
#include "model/synthesizer.h"

namespace synthvol::model {

// INVALID_ARGUMENT names the field: latent length, finite values, class label, start slice.
absl::Status CheckInput(const ModelConfig& config, const SynthesisInput& input);

// The factors of imaging::Window::ToStored, in float as there.
StoredScale ScaleOf(const imaging::Window& window);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_INFERENCE_INPUT_CHECK_H_
