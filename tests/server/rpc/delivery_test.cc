// DeliveryService over a real server, up to where a PACS is needed: what callers may see and name,
// what they hear when a destination fails, and what is left when they go away. Deliveries into a
// real PACS: tests/imaging_dicom/test_server_delivery.py.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "absl/time/clock.h"
#include "base/atomic_file.h"
#include "server/rpc/destinations.h"
#include "tests/server/testing/test_server.h"

namespace synthvol::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// A TCP port of loopback. Listening, it lets peers connect and never says a word; otherwise it is
// only taken, so that whoever connects is refused.
class Port {
 public:
  explicit Port(bool listening) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(socket_, generic, length), 0);
    EXPECT_EQ(getsockname(socket_, generic, &length), 0);
    if (listening) {
      EXPECT_EQ(listen(socket_, 8), 0);
    }
    number_ = ntohs(address.sin_port);
  }
  ~Port() { close(socket_); }
  uint32_t number() const { return number_; }
  // Waits until somebody has connected, and leaves them without an answer. Returns their socket.
  int AwaitPeer() { return accept(socket_, nullptr, nullptr); }

 private:
  const int socket_;
  uint32_t number_ = 0;
};

// Returns whether the other end has closed a connection, without waiting for it.
bool HasHungUp(int socket) {
  char bytes[4096];
  ssize_t got = 0;
  do {
    got = recv(socket, bytes, sizeof(bytes), MSG_DONTWAIT);
  } while (got > 0);
  return got == 0;
}

void AddCStore(v1::ServerConfig& config, const std::string& name, uint32_t port) {
  v1::DestinationConfig& destination = *config.add_destinations();
  destination.set_name(name);
  destination.set_description("where " + name + " is");
  destination.mutable_c_store()->set_host("127.0.0.1");
  destination.mutable_c_store()->set_port(port);
  destination.mutable_c_store()->set_called_ae_title("ARCHIVE");
  destination.mutable_c_store()->set_calling_ae_title("SYNTHVOL");
}

class DeliveryTest : public ::testing::Test {
 protected:
  DeliveryTest()
      : server_([&](v1::ServerConfig& config) {
          AddCStore(config, "gone", gone_.number());
          AddCStore(config, "mute", mute_.number());
          v1::DestinationConfig& web = *config.add_destinations();
          web.set_name("web");
          web.mutable_stow_rs()->set_url("https://pacs.invalid/dicom-web");
          web.mutable_stow_rs()->set_bearer_token_file(token_file_);
        }) {}

  static std::string WriteToken(const std::string& folder) {
    EXPECT_TRUE(WriteFileAtomically(folder + "/token", "secret\n").ok());
    return folder + "/token";
  }

  static v1::DeliverRequest PlainDelivery(const std::string& destination) {
    v1::DeliverRequest request;
    request.mutable_model()->set_name("tiny");
    request.set_seed(1);
    request.set_count(1);
    request.set_destination(destination);
    return request;
  }

  grpc::Status Deliver(const v1::DeliverRequest& request) {
    grpc::ClientContext context;
    const auto reader = server_.delivery().Deliver(&context, request);
    v1::DeliverResponse response;
    while (reader->Read(&response)) {
      EXPECT_FALSE(response.done());
    }
    return reader->Finish();
  }

  void ExpectIdle() {
    EXPECT_TRUE(server_.server().scheduler().AwaitIdle(absl::Now() + absl::Seconds(60)));
    EXPECT_EQ(server_.server().scheduler().Snapshot().bytes, 0u);
  }

  TemporaryFolder folder_;
  const std::string token_file_ = WriteToken(folder_.path());
  Port gone_{false};
  Port mute_{true};
  TestServer server_;
};

TEST_F(DeliveryTest, ListsNamesAndKindsWithoutAddresses) {
  grpc::ClientContext context;
  v1::ListDestinationsResponse list;
  ASSERT_TRUE(server_.delivery().ListDestinations(&context, {}, &list).ok());
  ASSERT_EQ(list.destinations_size(), 3);
  EXPECT_EQ(list.destinations(0).name(), "gone");
  EXPECT_EQ(list.destinations(0).kind(), v1::DESTINATION_KIND_C_STORE);
  EXPECT_EQ(list.destinations(0).description(), "where gone is");
  EXPECT_EQ(list.destinations(2).name(), "web");
  EXPECT_EQ(list.destinations(2).kind(), v1::DESTINATION_KIND_STOW_RS);
  EXPECT_THAT(list.SerializeAsString(),
              AllOf(Not(HasSubstr("127.0.0.1")), Not(HasSubstr("ARCHIVE")),
                    Not(HasSubstr("pacs.invalid"))));
}

TEST_F(DeliveryTest, OnlyConfiguredNamesAreDestinations) {
  for (const char* name :
       {"", "nowhere", "ARCHIVE@127.0.0.1:104", "https://pacs.invalid/dicom-web"}) {
    const grpc::Status status = Deliver(PlainDelivery(name));
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND) << name;
    EXPECT_EQ(ReasonOfGrpc(status), "DESTINATION_NOT_FOUND");
    EXPECT_THAT(status.error_message(), HasSubstr("ListDestinations"));
  }
}

TEST_F(DeliveryTest, RefusesWhatASynthesisWouldRefuse) {
  struct Case {
    void (*spoil)(v1::DeliverRequest&);
    const char* field;
  };
  const Case cases[] = {
      {[](v1::DeliverRequest& r) { r.clear_model(); }, "model.name"},
      {[](v1::DeliverRequest& r) { r.set_count(0); }, "count"},
      {[](v1::DeliverRequest& r) { r.set_seed(1ULL << 32); }, "seed"},
      {[](v1::DeliverRequest& r) { r.set_class_label(1); }, "class_label"},
      {[](v1::DeliverRequest& r) { r.set_start_volume(1); }, "start_volume"},
      {[](v1::DeliverRequest& r) { r.mutable_dicom()->mutable_attributes()->set_patient_sex("X"); },
       "dicom.attributes.patient_sex"},
  };
  for (const Case& bad : cases) {
    v1::DeliverRequest request = PlainDelivery("gone");
    bad.spoil(request);
    const grpc::Status status = Deliver(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << bad.field;
    EXPECT_EQ(FieldOfGrpc(status), bad.field) << status.error_message();
  }
}

TEST_F(DeliveryTest, ADestinationThatCannotBeReachedIsUnavailableLater) {
  const grpc::Status status = Deliver(PlainDelivery("gone"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOfGrpc(status), "DESTINATION_UNAVAILABLE");
  EXPECT_GT(RetryDelayOfGrpc(status), 0);
  EXPECT_THAT(status.error_message(), AllOf(HasSubstr("'gone'"), Not(HasSubstr("127.0.0.1"))));
  ExpectIdle();
}

TEST_F(DeliveryTest, CredentialsThatAreGoneAreTheOperatorsFault) {
  ASSERT_EQ(unlink(token_file_.c_str()), 0);
  v1::DeliverRequest request = PlainDelivery("web");
  request.set_request_id("delivery-7");
  const grpc::Status status = Deliver(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOfGrpc(status), "DESTINATION_REFUSED");
  EXPECT_THAT(status.error_message(), AllOf(HasSubstr("cannot be used as it is configured"),
                                            HasSubstr("delivery-7"), Not(HasSubstr(token_file_))));
}

TEST_F(DeliveryTest, LeavingAndDeadlinesEndDeliveriesThatHang) {
  grpc::ClientContext leaving;
  grpc::ClientContext limited;
  limited.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  const auto left = server_.delivery().Deliver(&leaving, PlainDelivery("mute"));
  const auto expired = server_.delivery().Deliver(&limited, PlainDelivery("mute"));
  const int peer = mute_.AwaitPeer();
  const int other = mute_.AwaitPeer();
  ASSERT_TRUE(peer >= 0 && other >= 0);
  // The only worker is free while deliveries wait for their destination.
  EXPECT_TRUE(Synthesize(server_.synthesis(), PlainRequest()).status.ok());
  leaving.TryCancel();
  EXPECT_EQ(left->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(expired->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  // The first one's sender did not sit out the time that a destination has for its answer.
  EXPECT_TRUE(HasHungUp(peer) || HasHungUp(other));
  ExpectIdle();
  close(peer);
  close(other);
}

TEST_F(DeliveryTest, ADestinationThatHangsHoldsUpNoOther) {
  // More than any number of threads that would be kept for deliveries.
  constexpr int kHanging = 40;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::DeliverResponse>>> readers;
  for (int i = 0; i < kHanging; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(server_.delivery().Deliver(contexts.back().get(), PlainDelivery("mute")));
  }
  while (server_.server().scheduler().Snapshot().parked < kHanging) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_EQ(Deliver(PlainDelivery("gone")).error_code(), grpc::StatusCode::UNAVAILABLE);
  // The others still hang: the answer did not wait for them.
  EXPECT_EQ(server_.server().scheduler().Snapshot().parked, static_cast<uint32_t>(kHanging));
  for (const auto& context : contexts) context->TryCancel();
  ExpectIdle();
}

TEST(DestinationsTest, ABadConfigurationIsRefusedAtTheStart) {
  v1::ServerConfig config;
  AddCStore(config, "archive", 104);
  EXPECT_TRUE(Destinations::Create(config).ok());
  config.mutable_destinations(0)->mutable_c_store()->set_called_ae_title("A\\B");
  EXPECT_THAT(Destinations::Create(config).status().message(), HasSubstr("destinations 'archive'"));
  v1::DestinationConfig& web = *config.mutable_destinations(0);
  web.mutable_stow_rs()->set_url("https://pacs.invalid/dicom-web");
  web.mutable_stow_rs()->set_basic_credentials_file("/no/such/file");
  EXPECT_THAT(Destinations::Create(config).status().message(), HasSubstr("/no/such/file"));
}

}  // namespace
}  // namespace synthvol::server
