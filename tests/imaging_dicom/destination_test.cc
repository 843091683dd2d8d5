#include "imaging/dicom/destination.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/imaging_dicom/synthetic_volume.h"

namespace synthvol::imaging::dicom {
namespace {

using testing::HasSubstr;

TEST(ParseDestinationTest, ReadsBothKinds) {
  const auto c_store = ParseDestination("PACS 1@pacs.example:11112");
  ASSERT_TRUE(c_store.ok()) << c_store.status();
  EXPECT_EQ(c_store->kind, DestinationKind::kCStore);
  EXPECT_EQ(c_store->called_ae_title, "PACS 1");
  EXPECT_EQ(c_store->host, "pacs.example");
  EXPECT_EQ(c_store->port, 11112);
  const auto stow = ParseDestination("https://pacs.example/dicom-web/");
  ASSERT_TRUE(stow.ok()) << stow.status();
  EXPECT_EQ(stow->kind, DestinationKind::kStowRs);
  EXPECT_EQ(stow->url, "https://pacs.example/dicom-web");
}

TEST(DestinationTest, RefusesBadConfigurations) {
  const auto refuse = [](const char* message, auto change) {
    DestinationConfig config = *ParseDestination("PACS@127.0.0.1:104");
    change(config);
    const absl::Status status = Destination::Create(config).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  };
  const auto stow = [](DestinationConfig& c) {
    c.kind = DestinationKind::kStowRs;
    c.url = "https://h/dicom-web";
  };
  refuse("associations", [](auto& c) { c.associations = 17; });
  refuse("attempts", [](auto& c) { c.retry.max_attempts = 0; });
  refuse("backoff", [](auto& c) { c.retry.max_backoff = absl::ZeroDuration(); });
  refuse("timeouts", [](auto& c) { c.retry.response_timeout = absl::ZeroDuration(); });
  refuse("calling AE title", [](auto& c) { c.calling_ae_title = ""; });
  refuse("expected both or none", [](auto& c) { c.tls.key_file = "/etc/hostname"; });
  refuse("cannot read /no/such.pem", [](auto& c) { c.tls.ca_file = "/no/such.pem"; });
  refuse("commitment port", [](auto& c) {
    c.commitment_port = 11113;
    c.tls.enabled = true;
  });
  refuse("at most one", [&](auto& c) {
    stow(c);
    c.bearer_token = "t";
    c.username = "u";
  });
  refuse("control characters", [&](auto& c) {
    stow(c);
    c.bearer_token = "t\r\nX-Admin: 1";
  });
}

// A port that takes connections, `backlog` of them, and never says a word.
class SilentPort {
 public:
  explicit SilentPort(int backlog = 16) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    if (bind(fd_, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(fd_, backlog) == 0 &&
        getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
      port_ = ntohs(address.sin_port);
    }
  }
  ~SilentPort() { close(fd_); }
  SilentPort(const SilentPort&) = delete;
  SilentPort& operator=(const SilentPort&) = delete;

  int port() const { return port_; }

 private:
  int fd_;
  int port_ = 0;
};

std::vector<OutgoingInstance> Instances() {
  const Volume volume = SyntheticVolume();
  auto encoder = SeriesEncoder::Create(SyntheticDescription());
  EXPECT_TRUE(encoder.ok()) << encoder.status();
  std::vector<OutgoingInstance> instances;
  EncodedSlice slice;
  for (int64_t z = 0; z < (*encoder)->slice_count(); ++z) {
    EXPECT_TRUE(
        (*encoder)
            ->EncodeSlice(z, absl::MakeConstSpan(volume.voxels).subspan(z * 1280, 1280), &slice)
            .ok());
    instances.push_back({(*encoder)->Identity(slice.instance), slice.bytes});
  }
  return instances;
}

class SilentPeerTest : public testing::TestWithParam<bool> {
 protected:
  DestinationConfig Config(const RetryOptions& retry) const {
    const std::string host = absl::StrCat("127.0.0.1:", port_.port());
    auto config =
        ParseDestination(GetParam() ? absl::StrCat("http://", host) : absl::StrCat("PACS@", host));
    EXPECT_TRUE(config.ok()) << config.status();
    config->retry = retry;
    return *config;
  }
  SilentPort port_;
};

TEST_P(SilentPeerTest, TimesOut) {
  auto destination = Destination::Create(Config({.max_attempts = 2,
                                                 .initial_backoff = absl::Milliseconds(10),
                                                 .connect_timeout = absl::Seconds(1),
                                                 .response_timeout = absl::Seconds(1)}));
  ASSERT_TRUE(destination.ok());
  auto delivery = (*destination)->Begin(nullptr);
  ASSERT_TRUE(delivery.ok());
  absl::Status status;
  for (OutgoingInstance& instance : Instances()) {
    status = (*delivery)->Store(std::move(instance));
    if (!status.ok()) break;
  }
  if (status.ok()) status = (*delivery)->Finish().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr((*destination)->name()));
  EXPECT_THAT(std::string(status.message()), HasSubstr("(2 attempts)"));
}

TEST_P(SilentPeerTest, CancelEndsStoreAndFinish) {
  // Patient enough that only Cancel can end this within the test's time limit.
  auto destination = Destination::Create(Config({.max_attempts = 100,
                                                 .initial_backoff = absl::Seconds(3000),
                                                 .max_backoff = absl::Seconds(3000),
                                                 .connect_timeout = absl::Hours(1),
                                                 .response_timeout = absl::Hours(1)}));
  ASSERT_TRUE(destination.ok());
  auto delivery = (*destination)->Begin(nullptr);
  ASSERT_TRUE(delivery.ok());
  std::thread canceller([&] {
    absl::SleepFor(absl::Milliseconds(300));
    (*delivery)->Cancel();
  });
  absl::Status status;
  for (OutgoingInstance& instance : Instances()) {
    status = (*delivery)->Store(std::move(instance));
    if (!status.ok()) break;
  }
  if (status.ok()) status = (*delivery)->Finish().status();
  canceller.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
}

TEST_P(SilentPeerTest, DestroyingWithoutFinishIsFine) {
  auto destination = Destination::Create(
      Config({.connect_timeout = absl::Seconds(1), .response_timeout = absl::Seconds(1)}));
  ASSERT_TRUE(destination.ok());
  auto delivery = (*destination)->Begin(nullptr);
  ASSERT_TRUE(delivery.ok());
  EXPECT_TRUE((*delivery)->Store(Instances()[0]).ok());
}

// Connects to a port without waiting for the outcome.
class Knock {
 public:
  explicit Knock(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  }
  ~Knock() { close(fd_); }
  Knock(const Knock&) = delete;
  Knock& operator=(const Knock&) = delete;

 private:
  const int fd_;
};

TEST(UnreachablePeerTest, CancelEndsAConnectionThatNeverComes) {
  const SilentPort port(/*backlog=*/0);
  // With its backlog full, Linux drops what else knocks: the address is as good as a black hole.
  const Knock first(port.port());
  const Knock second(port.port());
  auto config = ParseDestination(absl::StrCat("PACS@127.0.0.1:", port.port()));
  ASSERT_TRUE(config.ok());
  config->retry.connect_timeout = absl::Hours(1);
  auto destination = Destination::Create(*config);
  ASSERT_TRUE(destination.ok());
  auto delivery = (*destination)->Begin(nullptr);
  ASSERT_TRUE(delivery.ok());
  ASSERT_TRUE((*delivery)->Store(Instances()[0]).ok());
  std::thread canceller([&] {
    absl::SleepFor(absl::Milliseconds(300));
    (*delivery)->Cancel();
  });
  const absl::Status status = (*delivery)->Finish().status();
  canceller.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
}

INSTANTIATE_TEST_SUITE_P(BothKinds, SilentPeerTest, testing::Bool(),
                         [](const auto& kind) { return kind.param ? "StowRs" : "CStore"; });

}  // namespace
}  // namespace synthvol::imaging::dicom
