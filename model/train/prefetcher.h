// Makes the batches of coming iterations on a thread of its own, so that training never waits for
// input: volumes are read from their mappings, scaled, augmented, and noise is drawn.
//
// Next() is for one consumer. Owns its thread; borrows the data.
#ifndef SYNTHVOL_MODEL_TRAIN_PREFETCHER_H_
#define SYNTHVOL_MODEL_TRAIN_PREFETCHER_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "model/train/train_config.h"
#include "model/train/train_step.h"
#include "model/train/training_data.h"

namespace synthvol::model {

// What one iteration takes.
struct IterationInput {
  int64_t iteration = 0;
  int64_t crop = 0;
  std::vector<MicroBatch> batches;
};

// Makes an iteration's input: a pure function of seed, iteration, rank and world size. `pinned`:
// for a GPU, in memory that copies to it need not wait for, made by several threads.
IterationInput MakeInput(const TrainingData& data, const TrainConfig& config, int64_t iteration,
                         int64_t rank, int64_t world_size, bool pinned);

class Prefetcher {
 public:
  // Starts to make the inputs from iteration `first` on.
  Prefetcher(const TrainingData& data, const TrainConfig& config, int64_t first, int64_t rank,
             int64_t world_size, bool pinned);
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  // Returns the next iteration's input; blocks while it is being made. Throws what making it threw
  // (memory).
  IterationInput Next();

 private:
  void Run(int64_t first);

  const TrainingData& data_;
  const TrainConfig& config_;
  const int64_t rank_;
  const int64_t world_size_;
  const bool pinned_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<IterationInput> ready_;  // guarded by mutex_
  std::exception_ptr failure_;        // guarded by mutex_
  bool stop_ = false;                 // guarded by mutex_
  std::thread thread_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_TRAIN_PREFETCHER_H_
