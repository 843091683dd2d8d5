#include "model/train/process_group.h"

#include <ATen/ATen.h>
// Gloo's header declares its group only with this, as LibTorch was built.
#define USE_C10D_GLOO
#include <cstdlib>
#include <exception>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "model/train/nccl_group.h"

namespace synthvol::model {
namespace {

constexpr int64_t kMaxProcesses = 65536;
constexpr std::chrono::minutes kMeetingTime{5};
// A process that is silent for so long counts as gone: longer than any write of a checkpoint.
constexpr std::chrono::minutes kSilence{10};

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::StatusOr<int64_t> Number(const char* name, int64_t low, int64_t high) {
  const std::string text = Variable(name);
  int64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value < low || value > high) {
    return absl::InvalidArgumentError(absl::StrCat(
        "environment variable ", name, " is '", text, "'; WORLD_SIZE is set, so a number from ",
        low, " to ", high, " is expected, as torchrun sets it"));
  }
  return value;
}

// First line of a library's message, without its source position "[file:line] ".
std::string Brief(const std::exception& error) {
  std::string text = error.what();
  text = text.substr(0, text.find('\n'));
  const size_t close = text.find("] ");
  return text.rfind('[', 0) == 0 && close != std::string::npos ? text.substr(close + 2) : text;
}

absl::Status Gone(const std::exception& error) {
  return absl::UnavailableError(
      absl::StrCat("another process of the run ended or is silent (", Brief(error), ")"));
}

class GlooGroup : public ProcessGroup {
 public:
  GlooGroup(const ProcessPlace& place, const c10::intrusive_ptr<c10d::Store>& store)
      : ProcessGroup(place, c10::Device(c10::kCPU)) {
    const auto options = c10d::ProcessGroupGloo::Options::create(kSilence);
    const std::string interface = Variable("GLOO_SOCKET_IFNAME");
    if (!interface.empty()) {
      options->devices = {c10d::ProcessGroupGloo::createDeviceForInterface(interface)};
    } else if (place.master_address == "localhost" ||
               absl::StartsWith(place.master_address, "127.")) {
      options->devices = {c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1")};
    } else {
      options->devices = {c10d::ProcessGroupGloo::createDefaultDevice()};
    }
    group_ = c10::make_intrusive<c10d::ProcessGroupGloo>(
        store, static_cast<int>(place.rank), static_cast<int>(place.world_size), options);
  }

  absl::StatusOr<std::unique_ptr<Pending>> StartSum(const at::Tensor& tensor) override {
    try {
      std::vector<at::Tensor> tensors = {tensor};
      return std::make_unique<GlooPending>(group_->allreduce(tensors));
    } catch (const std::exception& error) {
      return Gone(error);
    }
  }

  absl::Status Broadcast(const at::Tensor& tensor) override {
    try {
      std::vector<at::Tensor> tensors = {tensor};
      group_->broadcast(tensors)->wait();
      return absl::OkStatus();
    } catch (const std::exception& error) {
      return Gone(error);
    }
  }

 private:
  class GlooPending : public Pending {
   public:
    explicit GlooPending(c10::intrusive_ptr<c10d::Work> work) : work_(std::move(work)) {}
    absl::Status Wait() override {
      try {
        work_->wait();
        return absl::OkStatus();
      } catch (const std::exception& error) {
        return Gone(error);
      }
    }

   private:
    c10::intrusive_ptr<c10d::Work> work_;
  };

  c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;
};

}  // namespace

std::string ProcessPlace::Name() const { return absl::StrCat("rank ", rank, " of ", world_size); }

absl::StatusOr<ProcessPlace> ReadProcessPlace() {
  ProcessPlace place;
  if (Variable("WORLD_SIZE").empty()) return place;
  auto world_size = Number("WORLD_SIZE", 1, kMaxProcesses);
  if (!world_size.ok()) return world_size.status();
  place.world_size = *world_size;
  if (place.Alone()) return place;
  auto rank = Number("RANK", 0, place.world_size - 1);
  if (!rank.ok()) return rank.status();
  place.rank = *rank;
  auto port = Number("MASTER_PORT", 1, 65535);
  if (!port.ok()) return port.status();
  place.master_port = *port;
  if (!Variable("LOCAL_RANK").empty()) {
    auto local = Number("LOCAL_RANK", 0, 127);
    if (!local.ok()) return local.status();
    place.local_rank = *local;
  }
  place.master_address = Variable("MASTER_ADDR");
  if (place.master_address.empty()) {
    return absl::InvalidArgumentError(
        "environment variable MASTER_ADDR is not set; WORLD_SIZE is, so rank 0's host is expected");
  }
  place.launcher_keeps_store = Variable("TORCHELASTIC_USE_AGENT_STORE") == "True";
  if (const std::string count = Variable("TORCHELASTIC_RESTART_COUNT"); !count.empty()) {
    place.attempt = count;
  }
  return place;
}

absl::StatusOr<std::unique_ptr<ProcessGroup>> ProcessGroup::Join(const ProcessPlace& place,
                                                                 const c10::Device& device) {
  try {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(place.master_port);
    options.isServer = place.rank == 0 && !place.launcher_keeps_store;
    options.waitWorkers = false;
    options.timeout = kMeetingTime;
    const c10::intrusive_ptr<c10d::Store> store = c10::make_intrusive<c10d::PrefixStore>(
        absl::StrCat("synthvol/", place.attempt),
        c10::make_intrusive<c10d::TCPStore>(place.master_address, options));
    if (!device.is_cpu()) return JoinNccl(place, device, store);
    return std::make_unique<GlooGroup>(place, store);
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat(place.Name(), ": cannot meet the other processes at ", place.master_address,
                     ":", place.master_port, ": ", Brief(error)));
  }
}

absl::Status ProcessGroup::Sum(at::Tensor& tensor) {
  const at::Tensor moved = tensor.to(device_).contiguous();
  auto pending = StartSum(moved);
  if (!pending.ok()) return pending.status();
  if (auto status = (*pending)->Wait(); !status.ok()) return status;
  tensor = moved.to(at::kCPU);
  return absl::OkStatus();
}

}  // namespace synthvol::model
