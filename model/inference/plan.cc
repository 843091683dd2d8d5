#include "model/inference/plan.h"

#include <algorithm>

namespace synthvol::model {
namespace {

// 32 tiles: the products of a block stay in the second-level cache, and each weight that is loaded
// serves 32 rows.
constexpr int64_t kBlockTiles[3] = {2, 4, 4};
// Fields of a power of two would all lie in the same few sets of the caches.
constexpr int64_t kFieldPadding = 32;

}  // namespace

Block ConvolutionPlan::BlockOf(int64_t channels) const {
  Block block{{0, 0, 0}, channels, kind == ConvolutionKind::kSame ? kFieldPadding : 0};
  for (int axis = 0; axis < 3; ++axis) block.tiles[axis] = std::min(kBlockTiles[axis], tiles());
  return block;
}

int64_t ConvolutionPlan::BlocksAlong(int axis) const {
  return tiles() / std::min(kBlockTiles[axis], tiles());
}

GeneratorPlan MakePlan(const ModelConfig& config) {
  const int64_t c = config.channels;
  GeneratorPlan plan;
  plan.size = config.size;
  plan.latent_inputs = config.latent_dim + config.num_classes;
  plan.first_channels = 16 * c;
  int64_t channels = plan.first_channels;
  int64_t size = 4;
  const auto add = [&](const char* number, bool up, int64_t out_channels) {
    const ConvolutionKind kind = up ? ConvolutionKind::kUp : ConvolutionKind::kSame;
    plan.convolutions.push_back({number, kind, channels, out_channels, size});
    channels = out_channels;
    size = plan.convolutions.back().out_size();
  };
  add("1", false, 16 * c);
  add("2", true, 16 * c);
  add("3", true, 8 * c);
  add("4", config.size >= 128, 4 * c);
  add("5", config.size >= 256, 2 * c);
  add("6", true, c);
  if (config.size == 512) add("8", true, c / 2);
  plan.last_in_channels = channels;
  plan.last_in_size = size;
  return plan;
}

}  // namespace synthvol::model
