// Configuration of the server: read from JSON against its schema, completed with defaults, checked.
//
// Free functions, pure but for reading the file.
#ifndef SYNTHVOL_SERVER_CONFIG_CONFIG_H_
#define SYNTHVOL_SERVER_CONFIG_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "synthvol/v1/server_config.pb.h"

namespace synthvol::server {

// Parses protobuf's JSON form; a field that is not in the schema is an error. `where` names the
// source in errors.
absl::StatusOr<v1::ServerConfig> ParseConfig(const std::string& json, const std::string& where);

// Reads and parses a file; an error names it.
absl::StatusOr<v1::ServerConfig> ReadConfig(const std::string& path);

// Fills what was left out with the defaults of server_config.proto.
void CompleteConfig(v1::ServerConfig& config);

// Checks a completed configuration. INVALID_ARGUMENT names the field and what is expected.
absl::Status CheckConfig(const v1::ServerConfig& config);

// Returns the configuration as JSON, for --check-config.
std::string ToJson(const v1::ServerConfig& config);

// Splits "HOST:PORT" or "[V6]:PORT"; INVALID_ARGUMENT names `field`.
struct Endpoint {
  std::string host;
  int port = 0;
};
absl::StatusOr<Endpoint> ParseEndpoint(absl::string_view text, absl::string_view field);

// Returns whether a host is this machine only: 127.0.0.0/8, ::1 or localhost.
bool IsLoopback(absl::string_view host);

absl::Duration ToDuration(const google::protobuf::Duration& duration);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_CONFIG_CONFIG_H_
