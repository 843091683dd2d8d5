// The named tensors of one network, in the order in which the released code registers them, under
// the names of its state dict. A network is this set and functions over it.
//
// Not thread-safe. Copies share tensors. Values are owned by the tensors' own counts.
#ifndef SYNTHVOL_MODEL_NETS_PARAMETER_SET_H_
#define SYNTHVOL_MODEL_NETS_PARAMETER_SET_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace synthvol::model {

class ParameterSet {
 public:
  struct Item {
    std::string name;
    at::Tensor tensor;
    // Elements that one output sums over; fixes the range of a fresh weight. 0 for norm scales,
    // shifts and buffers.
    int64_t fan_in = 0;
  };

  // Adds NAME.weight [shape] and NAME.bias [shape[0]] of a convolution or a linear layer.
  void AddLayer(const std::string& name, std::vector<int64_t> shape);
  // Adds NAME.weight = 1 and NAME.bias = 0 [channels] of a GroupNorm.
  void AddNorm(const std::string& name, int64_t channels);
  // Adds a parameter of zeros.
  void AddParameter(const std::string& name, std::vector<int64_t> shape);
  // Adds the spectral-norm vector NAME.u0 [1, rows]: a buffer, never optimised.
  void AddPowerVector(const std::string& name, int64_t rows);

  // Fills layers uniformly in +-1/sqrt(fan_in) and power vectors normally, as PyTorch's defaults
  // do, from a generator seeded with `seed`; norms and plain parameters keep their start.
  void Initialise(uint64_t seed);

  // Finds a parameter or buffer; aborts on a name that was never added (a bug, not input).
  const at::Tensor& operator[](const std::string& name) const;
  bool Has(const std::string& name) const { return index_.count(name) > 0; }

  const std::vector<Item>& parameters() const { return parameters_; }
  const std::vector<Item>& buffers() const { return buffers_; }
  // Parameters, then buffers.
  std::vector<Item> All() const;

  int64_t ParameterCount() const;
  // Turns gradients of all parameters on or off; a frozen network builds no graph of its own.
  void RequireGradients(bool on) const;
  // Drops gradients, so that memory is free until the next backward pass.
  void DropGradients() const;
  // Moves everything to another device or layout.
  void To(const at::Device& device);

 private:
  std::vector<Item> parameters_;
  std::vector<Item> buffers_;
  // Position in parameters_, or -1 - position in buffers_.
  std::map<std::string, int64_t> index_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_NETS_PARAMETER_SET_H_
