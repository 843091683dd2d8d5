// The network whose features FID, MMD and memorisation compare: 3D ResNet-50 in MedicalNet's layout
// (Chen, Ma and Zheng 2019): shortcut type B, layers 3 and 4 dilated instead of strided, global
// average pooling, 2048 features.
//
// The header is torch-free. Features() may be called from one thread at a time; it uses ATen's
// threads inside.
#ifndef SYNTHVOL_MODEL_EVAL_FEATURE_NETWORK_H_
#define SYNTHVOL_MODEL_EVAL_FEATURE_NETWORK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace synthvol::model {

class FeatureNetwork {
 public:
  static constexpr int64_t kDims = 2048;

  // Loads weights that tools/convert_medicalnet.py wrote. Errors name file and tensor.
  static absl::StatusOr<std::unique_ptr<FeatureNetwork>> Load(const std::string& path);
  // Makes the same architecture with hashed He-uniform weights: the same bits everywhere.
  static std::unique_ptr<FeatureNetwork> MakeRandom();
  ~FeatureNetwork();

  // Returns what every report says: the architecture and where the weights are from, with digest.
  const std::string& name() const { return name_; }

  // Computes the 2048 features of one cube [size, size, size] on [-1, 1]. INVALID_ARGUMENT for
  // cubes below 16 voxels a side; INTERNAL when ATen fails (memory).
  absl::StatusOr<std::vector<float>> Features(absl::Span<const float> volume, int64_t size) const;

 private:
  struct Layers;
  FeatureNetwork(std::string name, std::unique_ptr<Layers> layers);

  const std::string name_;
  const std::unique_ptr<Layers> layers_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_FEATURE_NETWORK_H_
