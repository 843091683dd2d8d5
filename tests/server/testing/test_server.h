// A real server in this process, over a repository of small random models in a temporary folder.
#ifndef SYNTHVOL_TESTS_SERVER_TESTING_TEST_SERVER_H_
#define SYNTHVOL_TESTS_SERVER_TESTING_TEST_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/rpc/server.h"
#include "synthvol/v1/admin.grpc.pb.h"
#include "synthvol/v1/delivery.grpc.pb.h"
#include "synthvol/v1/server_config.pb.h"
#include "synthvol/v1/synthesis.grpc.pb.h"

namespace synthvol::server {

// A folder that goes with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// What distinguishes a test's model.
struct TestModel {
  std::string name = "tiny";
  int64_t version = 1;
  uint64_t salt = 1;
  int64_t num_classes = 0;
  int64_t channels = 8;
  // ModelConfig::plausibility_json; the weights do not depend on it.
  std::string plausibility = {};
};

// Writes a 64-voxel model with 16 latent values into REPOSITORY/NAME/VERSION, replacing what is
// there.
void WriteTestModel(const std::string& repository, const TestModel& model);

class TestServer {
 public:
  using Configure = std::function<void(v1::ServerConfig&)>;

  // Serves the default model "tiny" version 1 on a free port; waits until it is ready.
  explicit TestServer(const Configure& configure = nullptr,
                      const std::vector<TestModel>& models = {TestModel()});

  Server& server() { return *server_; }
  const std::string& repository() const { return folder_.path(); }
  std::string target() const;
  std::shared_ptr<grpc::Channel> NewChannel() const;
  v1::SynthesisService::Stub& synthesis() { return *synthesis_; }
  v1::AdminService::Stub& admin() { return *admin_; }
  v1::DeliveryService::Stub& delivery() { return *delivery_; }
  // Ends the server, draining.
  void Stop(absl::Duration grace) { server_->DrainAndStop(grace); }

 private:
  TemporaryFolder folder_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::SynthesisService::Stub> synthesis_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
  std::unique_ptr<v1::DeliveryService::Stub> delivery_;
};

// A plain request: one int16 volume of "tiny".
v1::SynthesizeRequest PlainRequest(uint64_t seed = 1, uint32_t count = 1);

// What came out of a stream, checked for form on the way: header (chunk)* trailer per volume, each
// chunk's CRC32C, the trailer's count and SHA-256.
struct Received {
  grpc::Status status;
  std::vector<v1::VolumeHeader> headers;
  std::vector<v1::VolumeTrailer> trailers;
  // Bytes of each volume, in order of arrival.
  std::vector<std::string> volumes;
  // DICOM: files of each volume by name.
  std::vector<std::map<std::string, std::string>> files;
  // Says what was wrong with the form; empty when nothing was.
  std::string fault;
};

// Runs a request to its end.
Received Synthesize(v1::SynthesisService::Stub& stub, const v1::SynthesizeRequest& request,
                    grpc::ClientContext* context = nullptr);

// Returns the reason of a status' ErrorInfo, "" when it has none or more than one.
std::string ReasonOfGrpc(const grpc::Status& status);
// Returns the first field path of a status' BadRequest.
std::string FieldOfGrpc(const grpc::Status& status);
// Returns the delay of a status' RetryInfo in seconds, -1 when it has none.
double RetryDelayOfGrpc(const grpc::Status& status);

}  // namespace synthvol::server

#endif  // SYNTHVOL_TESTS_SERVER_TESTING_TEST_SERVER_H_
