// SHA-256 of one volume's messages, computed on another thread while its worker goes on rendering,
// copying and sending: the one part of a stream that cannot be made faster or spread over cores
// (0.6 s of a core per GB), and as long as all the rest of it.
//
// Not thread-safe: one worker at a time. Refers to the executor, which must outlive the hashing of
// what was given, also of what was abandoned.
#ifndef SYNTHVOL_SERVER_RPC_BACKGROUND_SHA256_H_
#define SYNTHVOL_SERVER_RPC_BACKGROUND_SHA256_H_

#include <grpcpp/support/slice.h>

#include <cstddef>
#include <memory>
#include <string>

#include "server/rpc/executor.h"

namespace synthvol::server {

class BackgroundSha256 {
 public:
  explicit BackgroundSha256(Executor& executor);
  // Abandons what was not hashed yet; does not wait.
  ~BackgroundSha256();
  BackgroundSha256(const BackgroundSha256&) = delete;
  BackgroundSha256& operator=(const BackgroundSha256&) = delete;

  // Adds the bytes of `slice`; keeps a reference to it until they are hashed.
  void Update(grpc::Slice slice);
  // Waits for the rest, or hashes it itself; returns the 32 raw bytes. Call it once.
  std::string Finish();

 private:
  struct State;

  Executor& executor_;
  const std::shared_ptr<State> state_;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_BACKGROUND_SHA256_H_
