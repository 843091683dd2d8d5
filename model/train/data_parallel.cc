#include "model/train/data_parallel.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace synthvol::model {

absl::Status DataParallel::Join(const c10::Device& device) {
  if (place_.Alone()) return absl::OkStatus();
  auto group = ProcessGroup::Join(place_, device);
  if (!group.ok()) return group.status();
  group_ = *std::move(group);
  return absl::OkStatus();
}

absl::Status DataParallel::Agree(absl::Status mine) {
  if (group_ == nullptr) return mine;
  at::Tensor failures = at::full({1}, mine.ok() ? 0.0 : 1.0, at::kFloat);
  const absl::Status exchange = group_->Sum(failures);
  if (!mine.ok()) return mine;
  if (!exchange.ok()) return exchange;
  if (failures.item<double>() == 0.0) return absl::OkStatus();
  return absl::AbortedError("another process of the run cannot start; its message says why");
}

absl::Status DataParallel::ShareTensor(const at::Tensor& tensor) {
  if (tensor.is_contiguous()) return group_->Broadcast(tensor);
  const at::Tensor copy = tensor.contiguous();
  if (auto status = group_->Broadcast(copy); !status.ok()) return status;
  tensor.copy_(copy);
  return absl::OkStatus();
}

absl::Status DataParallel::ShareNumbers(std::vector<double>& numbers) {
  // Halves of 24 bits, which a float holds exactly.
  constexpr double kHalf = 16777216.0;
  const auto count = static_cast<int64_t>(numbers.size());
  at::Tensor host = at::empty({count, 2}, at::kFloat);
  auto halves = host.accessor<float, 2>();
  for (int64_t i = 0; i < count; ++i) {
    const double high = std::floor(numbers[static_cast<size_t>(i)] / kHalf);
    halves[i][0] = static_cast<float>(high);
    halves[i][1] = static_cast<float>(numbers[static_cast<size_t>(i)] - high * kHalf);
  }
  const at::Tensor shared = host.to(group_->device());
  if (auto status = group_->Broadcast(shared); !status.ok()) return status;
  const at::Tensor back = shared.to(at::kCPU, at::kDouble);
  for (int64_t i = 0; i < count; ++i) {
    numbers[static_cast<size_t>(i)] = back[i][0].item<double>() * kHalf + back[i][1].item<double>();
  }
  return absl::OkStatus();
}

absl::Status DataParallel::ShareStart(Networks& networks, TrainStep& step,
                                      const std::string& data_digest, int64_t& done) {
  if (group_ == nullptr) return absl::OkStatus();
  const at::NoGradGuard no_grad;
  std::vector<double> numbers = {static_cast<double>(done)};
  for (auto& [letter, adam] : step.optimizers()) {
    numbers.push_back(static_cast<double>(adam.steps()));
  }
  const size_t counters = numbers.size();
  for (const char c : data_digest) numbers.push_back(static_cast<double>(c));
  const std::vector<double> mine = numbers;
  if (auto status = ShareNumbers(numbers); !status.ok()) return status;
  absl::Status same;
  if (!std::equal(numbers.begin() + static_cast<int64_t>(counters), numbers.end(),
                  mine.begin() + static_cast<int64_t>(counters))) {
    same = absl::FailedPreconditionError("--data: rank 0 has another data set; expected the same");
  }
  if (same = Agree(same); !same.ok()) return same;
  done = static_cast<int64_t>(numbers[0]);
  size_t next = 1;
  for (auto& [letter, adam] : step.optimizers()) {
    adam.set_steps(static_cast<int64_t>(numbers[next++]));
    if (done == 0) continue;
    for (const auto& item : adam.Moments()) {
      if (auto status = ShareTensor(item.tensor); !status.ok()) return status;
    }
  }
  for (auto& [letter, net] : networks.All()) {
    for (const auto& item : net->All()) {
      if (auto status = ShareTensor(item.tensor); !status.ok()) return status;
    }
  }
  averager_ = std::make_unique<GradientAverager>(networks, *group_);
  step.set_gradient_observer(averager_.get());
  return absl::OkStatus();
}

absl::Status DataParallel::ShareIteration(std::vector<LossValue>& losses, bool& stop) {
  if (group_ == nullptr) return absl::OkStatus();
  if (!averager_->status().ok()) return averager_->status();
  const auto count = static_cast<int64_t>(losses.size());
  at::Tensor shared = at::zeros({count + 1}, at::kFloat);
  auto values = shared.accessor<float, 1>();
  for (int64_t i = 0; i < count; ++i) {
    values[i] = static_cast<float>(losses[static_cast<size_t>(i)].value);
  }
  values[count] = stop ? 1.0F : 0.0F;
  if (auto status = group_->Sum(shared); !status.ok()) return status;
  const at::Tensor sums = shared.to(at::kDouble);
  for (int64_t i = 0; i < count; ++i) {
    losses[static_cast<size_t>(i)].value =
        sums[i].item<double>() / static_cast<double>(place_.world_size);
  }
  stop = sums[count].item<double>() > 0.0;
  return absl::OkStatus();
}

absl::Status DataParallel::Named(const absl::Status& status) const {
  if (status.ok() || place_.Alone()) return status;
  return absl::Status(status.code(), absl::StrCat(place_.Name(), ": ", status.message()));
}

}  // namespace synthvol::model
