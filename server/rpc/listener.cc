#include "server/rpc/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/config/config.h"

namespace synthvol::server {
namespace {

// Connections that wait for us in the kernel.
constexpr int kBacklog = 1024;
// Pause when descriptors have run out; others give theirs back meanwhile.
constexpr int kExhaustedPauseMs = 100;

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::StatusOr<AddressList> Resolve(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(host.c_str(), absl::StrCat(port).c_str(), &hints, &list);
  if (error != 0) return absl::UnavailableError(gai_strerror(error));
  return AddressList(list, &freeaddrinfo);
}

void Set(int socket, int level, int option, int value) {
  setsockopt(socket, level, option, &value, sizeof(value));
}

void SetPort(sockaddr* address, int port) {
  const uint16_t number = htons(static_cast<uint16_t>(port));
  if (address->sa_family == AF_INET6) reinterpret_cast<sockaddr_in6*>(address)->sin6_port = number;
  if (address->sa_family == AF_INET) reinterpret_cast<sockaddr_in*>(address)->sin_port = number;
}

int PortOf(int socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                   : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

// Opens a listening socket; -1 with errno when it cannot be. Connections inherit the TCP options.
int Listen(const sockaddr* address, socklen_t length, absl::Duration dead_peer_timeout) {
  const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  Set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  Set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  Set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT,
      static_cast<int>(absl::ToInt64Milliseconds(dead_peer_timeout)));
  // [::] takes IPv4 too.
  if (address->sa_family == AF_INET6) Set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  if (bind(fd, address, length) == 0 && listen(fd, kBacklog) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

ino_t InodeOf(int fd) {
  struct stat status {};
  return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> Listener::Open(
    const ListenerOptions& options, std::shared_ptr<grpc::ServerCredentials> credentials,
    grpc::ServerBuilder& builder) {
  std::unique_ptr<Listener> listener(new Listener(options));
  listener->stop_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (listener->stop_ < 0) return absl::UnavailableError("no descriptor is free");
  if (absl::Status bound = listener->Bind(); !bound.ok()) return bound;
  listener->acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      std::move(credentials));
  return listener;
}

absl::Status Listener::Bind() {
  const absl::StatusOr<Endpoint> endpoint = ParseEndpoint(options_.address, "listen");
  if (!endpoint.ok()) return endpoint.status();
  port_ = endpoint->port;
  if (endpoint->host == "0.0.0.0") {
    // As gRPC does: every address, also IPv6 ones, where the machine has IPv6.
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(static_cast<uint16_t>(port_));
    const int fd =
        Listen(reinterpret_cast<sockaddr*>(&any), sizeof(any), options_.dead_peer_timeout);
    if (fd >= 0) {
      sockets_.push_back(fd);
      port_ = PortOf(fd);
      return absl::OkStatus();
    }
  }
  const absl::StatusOr<AddressList> addresses = Resolve(endpoint->host, endpoint->port);
  if (!addresses.ok()) return addresses.status();
  std::string reason = "no address";
  for (addrinfo* it = addresses->get(); it != nullptr; it = it->ai_next) {
    SetPort(it->ai_addr, port_);
    const int fd = Listen(it->ai_addr, it->ai_addrlen, options_.dead_peer_timeout);
    if (fd >= 0) {
      sockets_.push_back(fd);
      port_ = PortOf(fd);
      continue;
    }
    reason = std::strerror(errno);
    // A name may have addresses that this machine lacks; a port that is in use is another matter.
    if (errno != EADDRNOTAVAIL && errno != EAFNOSUPPORT) return absl::UnavailableError(reason);
  }
  return sockets_.empty() ? absl::UnavailableError(reason) : absl::OkStatus();
}

Listener::~Listener() {
  Stop();
  for (const int socket : sockets_) close(socket);
  if (stop_ >= 0) close(stop_);
}

void Listener::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void Listener::Stop() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  // Cannot fail: the counter is far from its limit.
  static_cast<void>(!write(stop_, &one, sizeof(one)));
  thread_.join();
  for (const int socket : sockets_) close(socket);
  sockets_.clear();
}

void Listener::Loop() {
  std::vector<pollfd> waited{{stop_, POLLIN, 0}};
  for (const int socket : sockets_) waited.push_back({socket, POLLIN, 0});
  while (true) {
    poll(waited.data(), waited.size(), -1);
    if ((waited[0].revents & POLLIN) != 0) return;
    bool room = true;
    for (size_t i = 1; i < waited.size(); ++i) {
      if (waited[i].revents != 0) room = AcceptAll(waited[i].fd) && room;
    }
    // The connection that found no room still waits, so poll alone would not.
    if (!room) poll(waited.data(), 1, kExhaustedPauseMs);
  }
}

bool Listener::AcceptAll(int listening) {
  while (true) {
    const int fd = accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      return errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM;
    }
    if (!Admit(fd)) {
      refused_.fetch_add(1, std::memory_order_relaxed);
      close(fd);
      continue;
    }
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
    parameters.listener_fd = listening;
    parameters.fd = fd;
    acceptor_->HandleNewConnection(&parameters);
  }
}

bool Listener::Admit(int connection) {
  absl::MutexLock lock(&mutex_);
  // The number is ours: whoever had it before is gone.
  open_.erase(connection);
  if (open_.size() >= options_.max_connections) Sweep();
  if (open_.size() >= options_.max_connections) return false;
  open_[connection] = InodeOf(connection);
  return true;
}

void Listener::Sweep() const {
  for (auto it = open_.begin(); it != open_.end();) {
    it = InodeOf(it->first) == it->second ? std::next(it) : open_.erase(it);
  }
}

uint32_t Listener::connections() const {
  absl::MutexLock lock(&mutex_);
  Sweep();
  return static_cast<uint32_t>(open_.size());
}

}  // namespace synthvol::server
