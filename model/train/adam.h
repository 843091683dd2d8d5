// Adam (Kingma and Ba 2015) over one network, in one fused pass.
//
// With beta1 = 0, as both papers train, the first moment is the gradient itself, so it is neither
// kept nor saved. Not thread-safe. Shares the network's tensors; owns the second moments.
#ifndef SYNTHVOL_MODEL_TRAIN_ADAM_H_
#define SYNTHVOL_MODEL_TRAIN_ADAM_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/nets/parameter_set.h"

namespace synthvol::model {

class Adam {
 public:
  // Starts with zero moments at step 0.
  Adam(const ParameterSet& net, double learning_rate);

  // Moves every parameter that has a gradient, then drops the gradients.
  void Step();

  void set_learning_rate(double rate);

  // State to save and restore: the second moment of each parameter, by the parameter's name.
  std::vector<ParameterSet::Item> Moments() const;
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps);
  // Counts a step that a recording took: its kernels have counted it on the device.
  void NoteReplayedStep() { ++steps_; }

 private:
  const ParameterSet net_;
  double learning_rate_;
  int64_t steps_ = 0;
  // The same two where the parameters are, [] float: a recorded step reads them anew each time.
  at::Tensor device_rate_;
  at::Tensor device_steps_;
  // In the order of net_.parameters().
  std::vector<at::Tensor> second_moments_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_ADAM_H_
