// A synthvol server that misbehaves on request: deterministic bytes instead of a network, and a
// plan of faults. The real server cannot be told to break a stream at byte 70,001; everything that
// does not need that is tested against the real one.
//
// Thread-safe once started. Stops in the destructor.
#ifndef SYNTHVOL_TESTS_CLIENT_FAKE_SERVER_H_
#define SYNTHVOL_TESTS_CLIENT_FAKE_SERVER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/server.h"
#include "synthvol/v1/synthesis.grpc.pb.h"

namespace synthvol::client {

enum class FaultKind {
  kNone,
  kBreak,         // the stream ends with `code`
  kEndEarly,      // the stream ends with OK and no trailer
  kCorruptCrc,    // a chunk whose CRC32C does not match
  kCorruptSha,    // a trailer whose digests do not match
  kSkipChunk,     // a chunk is left out
  kWrongSeed,     // a header of another seed
  kHugeGeometry,  // a header of 2^30 slices
  kEvilFileName,  // DICOM: "../../escape"
  kHang,          // no message any more until the client goes
};

// One fault, used up by one Synthesize call.
struct Fault {
  FaultKind kind = FaultKind::kNone;
  // Payload bytes sent on this stream before it strikes.
  uint64_t after_bytes = 0;
  grpc::StatusCode code = grpc::StatusCode::UNAVAILABLE;
  // Sent as google.rpc.RetryInfo when not negative.
  double retry_seconds = -1;
};

struct FakeServerOptions {
  std::string address = "127.0.0.1:0";
  int size = 16;
  std::string digest = std::string(64, 'a');
  std::string build = "fake+1";
  // Calls without this bearer token are UNAUTHENTICATED; empty lets all in.
  std::string token;
  uint32_t chunk_bytes = 1500;  // neither whole slices nor whole voxels
  absl::Duration per_chunk = absl::ZeroDuration();
  // Chance that a chunk breaks its stream, drawn from `random_seed`.
  double break_probability = 0;
  uint32_t random_seed = 1;
  std::shared_ptr<grpc::ServerCredentials> credentials;  // plain text when null
};

// Returns the bytes that the fake makes for a seed: raw, or file `slice` of DICOM.
std::string FakeVolume(uint64_t seed, const std::string& build, uint64_t bytes);
std::string FakeDicomFile(uint64_t seed, const std::string& build, uint32_t slice);

class FakeServer final : public v1::SynthesisService::Service {
 public:
  explicit FakeServer(FakeServerOptions options);
  ~FakeServer() override;

  std::string address() const;
  int port() const { return port_; }
  // Adds a fault for a coming Synthesize call.
  void Plan(Fault fault) ABSL_LOCKS_EXCLUDED(mutex_);
  // Returns the requests seen so far.
  std::vector<v1::SynthesizeRequest> requests() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Calls whose client went away before the end.
  int cancelled_calls() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Blocks until the process is told to end.
  void Wait() { server_->Wait(); }

  grpc::Status ListModels(grpc::ServerContext* context, const v1::ListModelsRequest* request,
                          v1::ListModelsResponse* response) override;
  grpc::Status GetModel(grpc::ServerContext* context, const v1::GetModelRequest* request,
                        v1::GetModelResponse* response) override;
  grpc::Status Synthesize(grpc::ServerContext* context, const v1::SynthesizeRequest* request,
                          grpc::ServerWriter<v1::SynthesizeResponse>* writer) override;

 private:
  struct Stream;
  grpc::Status Authenticate(const grpc::ServerContext& context) const;
  v1::Model DescribeModel() const;
  grpc::Status SendVolume(Stream& stream, uint32_t index, uint32_t start_slice);
  grpc::Status SendRaw(Stream& stream, uint32_t index, uint64_t seed, uint32_t start_slice);
  grpc::Status SendDicom(Stream& stream, uint32_t index, uint64_t seed, uint32_t start_slice);
  grpc::Status SendChunk(Stream& stream, v1::VolumeChunk chunk);
  // Whether the plan or chance strikes now.
  bool Strikes(Stream& stream, FaultKind kind);
  grpc::Status BreakStatus(const Fault& fault) const;

  const FakeServerOptions options_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;

  mutable absl::Mutex mutex_;
  std::deque<Fault> plan_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::SynthesizeRequest> requests_ ABSL_GUARDED_BY(mutex_);
  std::mt19937 random_ ABSL_GUARDED_BY(mutex_);
  int cancelled_calls_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace synthvol::client

#endif  // SYNTHVOL_TESTS_CLIENT_FAKE_SERVER_H_
