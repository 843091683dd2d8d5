// All networks of one training: what a run optimises, saves and resumes.
//
// Not thread-safe. Owns its networks.
#ifndef SYNTHVOL_MODEL_TRAIN_NETWORKS_H_
#define SYNTHVOL_MODEL_TRAIN_NETWORKS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/nets/crf.h"
#include "model/nets/discriminator.h"
#include "model/nets/encoder.h"
#include "model/nets/generator.h"

namespace synthvol::model {

struct Networks {
  explicit Networks(const ModelConfig& config);

  NetworkShape shape;
  Generator generator;
  Discriminator discriminator;
  HalfEncoder encoder;
  std::optional<Crf> crf;                 // CRF-GAN
  std::optional<SubEncoder> sub_encoder;  // HA-GAN

  // The networks there are under the letters of the golden values: G, D, E, then C or S.
  std::vector<std::pair<std::string, ParameterSet*>> All();

  // Fills all networks from one seed, each from a stream of its own.
  void Initialise(uint64_t seed);
  // Turns all gradients off: the state between phases.
  void Freeze();
  void To(const at::Device& device);
  int64_t ParameterCount();
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_NETWORKS_H_
