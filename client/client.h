// A client of one or several synthvol servers: lists models and streams volumes, verified, with
// retry, resume and fail-over.
//
// Thread-safe: calls may run at once on one Client and share its connections. Blocking: every call
// returns when it is done, failed, cancelled or past its deadline. Includes need Abseil and
// protobuf, neither gRPC nor torch nor DCMTK.
#ifndef SYNTHVOL_CLIENT_CLIENT_H_
#define SYNTHVOL_CLIENT_CLIENT_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/options.h"
#include "client/volume_sink.h"
#include "synthvol/v1/admin.pb.h"
#include "synthvol/v1/delivery.pb.h"
#include "synthvol/v1/synthesis.pb.h"

namespace synthvol::client {

// Stops a running call from another thread. Thread-safe; outlives the call that it is given to.
// Once cancelled it stays so.
class Cancellation {
 public:
  Cancellation();
  ~Cancellation();
  Cancellation(const Cancellation&) = delete;
  Cancellation& operator=(const Cancellation&) = delete;

  // Makes the call return CANCELLED soon; the server stops work within a slab.
  void Cancel();
  bool cancelled() const;

 private:
  friend class CallRunner;
  struct State;
  const std::unique_ptr<State> state_;
};

// What fixes a volume's bytes beside the request.
struct VolumeIdentity {
  std::string model_digest;
  std::string build;
  std::string device_class;
  // Set by the server's plausibility gate.
  std::string plausibility = {};
  uint64_t drawn_seed = 0;

  friend bool operator==(const VolumeIdentity&, const VolumeIdentity&) = default;
};

// Returns the identity that a header states.
VolumeIdentity IdentityOf(const v1::VolumeHeader& header);

struct CallOptions {
  // For the whole call, retries included.
  absl::Duration timeout = absl::InfiniteDuration();
  // May be null.
  Cancellation* cancellation = nullptr;
  // With a request whose start_slice is set: what produced the slices that the caller has. When
  // the server's differs, the volume starts over (the header's start_slice says so).
  std::optional<VolumeIdentity> resume_from;
};

enum class ServingStatus { kUnknown, kServing, kNotServing };

class Client {
 public:
  // Makes a client; connects on the first call. INVALID_ARGUMENT for no or malformed endpoints,
  // half a key pair, a token over a plain-text connection to another machine's name is allowed but
  // unwise; NOT_FOUND and the like for files that cannot be read.
  static absl::StatusOr<std::unique_ptr<Client>> Create(const ClientOptions& options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Lists every model version that the server has.
  absl::StatusOr<std::vector<v1::Model>> ListModels(const CallOptions& call = {});
  // Returns one model version. NOT_FOUND when there is none.
  absl::StatusOr<v1::Model> GetModel(const v1::ModelSelector& selector,
                                     const CallOptions& call = {});

  // Streams the request's volumes into `sink`. Checks order, CRC32C of each chunk, byte count and
  // SHA-256 of each volume. A broken stream is taken up at the last whole slice, at the next
  // endpoint if there are several, with the model version pinned to the one that answered first.
  // Errors: the server's code, DATA_LOSS when retries did not cure a damaged stream, CANCELLED,
  // DEADLINE_EXCEEDED, the sink's.
  absl::Status Synthesize(const v1::SynthesizeRequest& request, VolumeSink& sink,
                          const CallOptions& call = {});
  // Synthesizes into memory. As above.
  absl::StatusOr<std::vector<ReceivedVolume>> SynthesizeToMemory(
      const v1::SynthesizeRequest& request, const CallOptions& call = {});

  // Lists where the server may deliver to.
  absl::StatusOr<std::vector<v1::Destination>> ListDestinations(const CallOptions& call = {});
  // Has the server deliver volumes; `progress` sees every message. A broken stream is taken up at
  // the volume that was not finished.
  absl::Status Deliver(const v1::DeliverRequest& request,
                       const std::function<void(const v1::DeliverResponse&)>& progress,
                       const CallOptions& call = {});

  // Returns the live picture of a server (scope "admin").
  absl::StatusOr<v1::GetStatusResponse> GetStatus(const CallOptions& call = {});
  // Asks the standard health service about `service`, "" for the whole server.
  absl::StatusOr<ServingStatus> CheckHealth(const std::string& service,
                                            const CallOptions& call = {});

 private:
  class Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_CLIENT_H_
