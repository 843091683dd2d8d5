// The listening end of a gRPC server: takes connections by itself and hands them to gRPC, a bounded
// number at a time; what comes beyond is closed at once.
//
// gRPC's own listener has no such bound, and the one of gRPC 1.51 ends for good when accept() finds
// no free descriptor: whoever opened enough connections, idle ones, would stop the server until its
// restart.
//
// Thread-safe after Open. Owns its sockets and a thread.
#ifndef SYNTHVOL_SERVER_RPC_LISTENER_H_
#define SYNTHVOL_SERVER_RPC_LISTENER_H_

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace synthvol::server {

struct ListenerOptions {
  // HOST:PORT; port 0 takes a free one. All addresses of a host name are listened on, and IPv6 too
  // where the host is 0.0.0.0.
  std::string address;
  uint32_t max_connections = 1000;
  // A peer that acknowledges nothing for this long is given up.
  absl::Duration dead_peer_timeout = absl::Seconds(10);
};

class Listener {
 public:
  // Binds, and registers with `builder`. Connections wait until Start. UNAVAILABLE says what is
  // wrong with the address.
  static absl::StatusOr<std::unique_ptr<Listener>> Open(
      const ListenerOptions& options, std::shared_ptr<grpc::ServerCredentials> credentials,
      grpc::ServerBuilder& builder);
  // Stops.
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Begins to take connections; after the builder's BuildAndStart.
  void Start();
  // Takes no more and closes the sockets; before the gRPC server's Shutdown.
  void Stop();

  // The port that was taken.
  int port() const { return port_; }
  // Connections that are open now.
  uint32_t connections() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Connections that were closed at once, so far.
  uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  explicit Listener(const ListenerOptions& options) : options_(options) {}

  absl::Status Bind();
  void Loop();
  // Takes what waits on a socket; false when the process has no descriptor or memory for more.
  bool AcceptAll(int listening);
  bool Admit(int connection) ABSL_LOCKS_EXCLUDED(mutex_);
  // Forgets connections that gRPC has closed.
  void Sweep() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ListenerOptions options_;
  int port_ = 0;
  std::vector<int> sockets_;
  // An eventfd: readable once the loop is to end.
  int stop_ = -1;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::thread thread_;
  std::atomic<uint64_t> refused_{0};

  mutable absl::Mutex mutex_;
  // Connections by descriptor, with the inode that tells them from later owners of the number.
  mutable std::unordered_map<int, ino_t> open_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_LISTENER_H_
