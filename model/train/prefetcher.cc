#include "model/train/prefetcher.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <utility>

#include "model/train/random_stream.h"

namespace synthvol::model {
namespace {

// Inputs that wait ready: one more than is used at a time hides the making.
constexpr size_t kDepth = 2;

// Draws one latent [latent_dim] for the volume at `index`.
void DrawLatent(uint64_t seed, Purpose purpose, uint64_t index, at::Tensor row) {
  const at::Generator generator =
      at::detail::createCPUGenerator(RandomBits(seed, purpose, index) & 0xFFFFFFFFULL);
  row.normal_(0.0, 1.0, generator);
}

MicroBatch MakeBatch(const TrainingData& data, const TrainConfig& config, uint64_t first_index,
                     bool pinned) {
  const int64_t n = config.batch_size;
  const int64_t s = data.size();
  MicroBatch batch;
  batch.images =
      at::empty({n, 1, s, s, s}, at::TensorOptions().dtype(at::kFloat).pinned_memory(pinned));
  if (config.model.num_classes > 0) batch.labels = at::empty({n}, at::kLong);
  batch.noise_discriminator = at::empty({n, config.model.latent_dim}, at::kFloat);
  batch.noise_generator = at::empty_like(batch.noise_discriminator);
  batch.noise_crf = at::empty_like(batch.noise_discriminator);
  // On the CPU the other cores have the networks to compute; a GPU waits for the next batch.
  const int64_t slices_a_thread = pinned ? 8 : s;
  for (int64_t i = 0; i < n; ++i) {
    const SamplePosition position{config.seed, first_index + static_cast<uint64_t>(i)};
    const int64_t volume = data.VolumeAt(position);
    const auto voxels = static_cast<size_t>(s * s * s);
    float* out = batch.images.data_ptr<float>() + static_cast<size_t>(i) * voxels;
    data.Read(volume, position, config.augmentation, slices_a_thread, absl::MakeSpan(out, voxels));
    if (batch.labels.defined()) batch.labels.data_ptr<int64_t>()[i] = data.Label(volume);
    DrawLatent(config.seed, Purpose::kNoiseDiscriminator, position.index,
               batch.noise_discriminator[i]);
    DrawLatent(config.seed, Purpose::kNoiseGenerator, position.index, batch.noise_generator[i]);
    DrawLatent(config.seed, Purpose::kNoiseCrf, position.index, batch.noise_crf[i]);
  }
  return batch;
}

}  // namespace

IterationInput MakeInput(const TrainingData& data, const TrainConfig& config, int64_t iteration,
                         int64_t rank, int64_t world_size, bool pinned) {
  IterationInput input;
  input.iteration = iteration;
  const auto crops = static_cast<uint64_t>(config.model.size / 8 * 7 + 1);
  input.crop = static_cast<int64_t>(RandomBelow(
      RandomBits(config.seed, Purpose::kCrop, static_cast<uint64_t>(iteration)), crops));
  for (int64_t micro = 0; micro < config.accumulate; ++micro) {
    const int64_t slot = (iteration * config.accumulate + micro) * world_size + rank;
    input.batches.push_back(
        MakeBatch(data, config, static_cast<uint64_t>(slot * config.batch_size), pinned));
  }
  return input;
}

Prefetcher::Prefetcher(const TrainingData& data, const TrainConfig& config, int64_t first,
                       int64_t rank, int64_t world_size, bool pinned)
    : data_(data), config_(config), rank_(rank), world_size_(world_size), pinned_(pinned) {
  thread_ = std::thread([this, first] { Run(first); });
}

Prefetcher::~Prefetcher() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Prefetcher::Run(int64_t first) {
  for (int64_t iteration = first;; ++iteration) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || ready_.size() < kDepth; });
      if (stop_) return;
    }
    try {
      IterationInput input = MakeInput(data_, config_, iteration, rank_, world_size_, pinned_);
      const std::lock_guard<std::mutex> lock(mutex_);
      ready_.push_back(std::move(input));
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex_);
      failure_ = std::current_exception();
      changed_.notify_all();
      return;
    }
    changed_.notify_all();
  }
}

IterationInput Prefetcher::Next() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return failure_ != nullptr || !ready_.empty(); });
  if (ready_.empty()) std::rethrow_exception(failure_);
  IterationInput input = std::move(ready_.front());
  ready_.pop_front();
  lock.unlock();
  changed_.notify_all();
  return input;
}

}  // namespace synthvol::model
