#include "model/train/networks.h"

namespace synthvol::model {

Networks::Networks(const ModelConfig& config)
    : shape(config), generator(shape), discriminator(shape), encoder(shape) {
  if (shape.ha_gan) {
    sub_encoder.emplace(shape);
  } else {
    crf.emplace(shape);
  }
}

std::vector<std::pair<std::string, ParameterSet*>> Networks::All() {
  std::vector<std::pair<std::string, ParameterSet*>> all = {
      {"G", &generator.net()}, {"D", &discriminator.net()}, {"E", &encoder.net()}};
  if (crf) all.emplace_back("C", &crf->net());
  if (sub_encoder) all.emplace_back("S", &sub_encoder->net());
  return all;
}

void Networks::Initialise(uint64_t seed) {
  uint64_t stream = 0;
  for (auto& [letter, net] : All()) net->Initialise(seed * 16 + stream++);
}

void Networks::Freeze() {
  for (auto& [letter, net] : All()) net->RequireGradients(false);
}

void Networks::To(const at::Device& device) {
  for (auto& [letter, net] : All()) net->To(device);
}

int64_t Networks::ParameterCount() {
  int64_t count = 0;
  for (auto& [letter, net] : All()) count += net->ParameterCount();
  return count;
}

}  // namespace synthvol::model
