#include "model/train/nccl_group.h"

#include "absl/strings/str_cat.h"

#ifdef SYNTHVOL_HAS_NCCL
#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <nccl.h>

#include <chrono>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>
#endif

namespace synthvol::model {

#ifndef SYNTHVOL_HAS_NCCL

absl::StatusOr<std::unique_ptr<ProcessGroup>> JoinNccl(const ProcessPlace& place,
                                                       const c10::Device& device,
                                                       const c10::intrusive_ptr<c10d::Store>&) {
  return absl::FailedPreconditionError(
      absl::StrCat(place.Name(), ": this build has no NCCL for --device ", device.str(),
                   "; expected --device cpu, or a build beside NCCL's header"));
}

#else

namespace {

constexpr std::chrono::minutes kSilence{10};
constexpr std::chrono::microseconds kPoll{50};

// The functions of libnccl.so.2 that a group needs.
struct NcclFunctions {
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRank) init_rank = nullptr;
  decltype(&ncclAllReduce) all_reduce = nullptr;
  decltype(&ncclBroadcast) broadcast = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclCommGetAsyncError) async_error = nullptr;
  decltype(&ncclGetErrorString) error_string = nullptr;

  static absl::StatusOr<NcclFunctions> Load() {
    void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_GLOBAL);
    if (library == nullptr) {
      return absl::FailedPreconditionError(absl::StrCat("cannot open libnccl.so.2: ", dlerror()));
    }
    NcclFunctions f;
    bool complete = true;
    const auto find = [&complete, library](const char* name, auto& function) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
      complete = complete && function != nullptr;
    };
    find("ncclGetUniqueId", f.get_unique_id);
    find("ncclCommInitRank", f.init_rank);
    find("ncclAllReduce", f.all_reduce);
    find("ncclBroadcast", f.broadcast);
    find("ncclCommAbort", f.abort);
    find("ncclCommGetAsyncError", f.async_error);
    find("ncclGetErrorString", f.error_string);
    if (!complete) return absl::FailedPreconditionError("libnccl.so.2 lacks a function");
    return f;
  }

  absl::Status Check(ncclResult_t result, const char* what) const {
    if (result == ncclSuccess) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat(what,
                                               " failed, another process of the run may have "
                                               "ended (",
                                               error_string(result), ")"));
  }
};

class NcclGroup : public ProcessGroup {
 public:
  NcclGroup(const ProcessPlace& place, const c10::Device& device, NcclFunctions functions,
            ncclComm_t communicator)
      : ProcessGroup(place, device),
        nccl_(functions),
        communicator_(communicator),
        guard_(device.type()),
        stream_(guard_.getStreamFromGlobalPool(device)) {}

  // Aborting instead of destroying does not wait for processes that are gone.
  ~NcclGroup() override { nccl_.abort(communicator_); }

  absl::StatusOr<std::unique_ptr<Pending>> StartSum(const at::Tensor& tensor) override {
    return Launch(tensor, [&](void* data, size_t count, cudaStream_t stream) {
      return nccl_.all_reduce(data, data, count, ncclFloat, ncclSum, communicator_, stream);
    });
  }

  absl::Status Broadcast(const at::Tensor& tensor) override {
    auto pending = Launch(tensor, [&](void* data, size_t count, cudaStream_t stream) {
      return nccl_.broadcast(data, data, count, ncclFloat, /*root=*/0, communicator_, stream);
    });
    return pending.ok() ? (*pending)->Wait() : pending.status();
  }

 private:
  class NcclPending : public Pending {
   public:
    NcclPending(NcclGroup& group, at::Tensor tensor)
        : group_(group), tensor_(std::move(tensor)), done_(group.device().type()) {
      done_.record(group_.stream_);
    }

    absl::Status Wait() override {
      const auto deadline = std::chrono::steady_clock::now() + kSilence;
      while (!done_.query()) {
        ncclResult_t error = ncclSuccess;
        group_.nccl_.async_error(group_.communicator_, &error);
        if (auto status = group_.nccl_.Check(error, "NCCL"); !status.ok()) return status;
        if (std::chrono::steady_clock::now() > deadline) {
          return absl::UnavailableError("another process of the run is silent (NCCL)");
        }
        std::this_thread::sleep_for(kPoll);
      }
      done_.block(group_.guard_.getStream(group_.device()));
      return absl::OkStatus();
    }

   private:
    NcclGroup& group_;
    const at::Tensor tensor_;
    c10::Event done_;
  };

  // Runs a collective on the group's stream after what the current stream has been given.
  template <typename Call>
  absl::StatusOr<std::unique_ptr<Pending>> Launch(const at::Tensor& tensor, const Call& call) {
    c10::Event ready(device().type());
    ready.record(guard_.getStream(device()));
    ready.block(stream_);
    guard_.recordDataPtrOnStream(tensor.storage().data_ptr(), stream_);
    const auto result = call(tensor.data_ptr(), static_cast<size_t>(tensor.numel()),
                             static_cast<cudaStream_t>(stream_.native_handle()));
    if (auto status = nccl_.Check(result, "NCCL"); !status.ok()) return status;
    return std::make_unique<NcclPending>(*this, tensor);
  }

  const NcclFunctions nccl_;
  const ncclComm_t communicator_;
  const c10::impl::VirtualGuardImpl guard_;
  const c10::Stream stream_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ProcessGroup>> JoinNccl(
    const ProcessPlace& place, const c10::Device& device,
    const c10::intrusive_ptr<c10d::Store>& store) {
  auto nccl = NcclFunctions::Load();
  if (!nccl.ok()) return nccl.status();
  // Rank 0 names the group; the store carries the name.
  ncclUniqueId id{};
  if (place.rank == 0) {
    if (auto status = nccl->Check(nccl->get_unique_id(&id), "ncclGetUniqueId"); !status.ok()) {
      return status;
    }
    store->set("nccl", std::vector<uint8_t>(id.internal, id.internal + sizeof(id.internal)));
  } else {
    const std::vector<uint8_t> bytes = store->get("nccl");
    if (bytes.size() != sizeof(id.internal)) {
      return absl::InternalError("the store holds no NCCL identity");
    }
    std::memcpy(id.internal, bytes.data(), bytes.size());
  }
  c10::impl::VirtualGuardImpl(device.type()).setDevice(device);
  ncclComm_t communicator = nullptr;
  if (auto status = nccl->Check(nccl->init_rank(&communicator, static_cast<int>(place.world_size),
                                                id, static_cast<int>(place.rank)),
                                "ncclCommInitRank");
      !status.ok()) {
    return status;
  }
  return std::make_unique<NcclGroup>(place, device, *nccl, communicator);
}

#endif  // SYNTHVOL_HAS_NCCL

}  // namespace synthvol::model
