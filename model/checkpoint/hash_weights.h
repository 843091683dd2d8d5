// Weights rebuilt from an integer hash, bit for bit: random models for tests, demos and benchmarks,
// and the inputs of the golden values. Pure functions.
#ifndef SYNTHVOL_MODEL_CHECKPOINT_HASH_WEIGHTS_H_
#define SYNTHVOL_MODEL_CHECKPOINT_HASH_WEIGHTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "model/checkpoint/checkpoint.h"

namespace synthvol::model {

// Fills `out` with uniform values in [-1, 1): out[i] is the splitmix64 finaliser of
// salt * 2^48 + stream * 2^32 + i, top 24 bits. Exact in float.
void HashUniform(uint64_t salt, uint64_t stream, absl::Span<float> out);

// A generator's weights by the rules of the golden values: streams count the tensors in the order
// of GeneratorTensors; convolutions and fc1 are u / sqrt(fan in), GroupNorm 1 + 0.1 u and 0.1 u.
struct HashedWeights {
  std::vector<ExpectedTensor> tensors;
  std::vector<std::vector<float>> values;

  // Returns what WriteCheckpoint takes; points into this object.
  std::vector<NamedTensor> Named() const;
};
HashedWeights MakeHashedGenerator(const ModelConfig& config, uint64_t salt);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_CHECKPOINT_HASH_WEIGHTS_H_
