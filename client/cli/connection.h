// The flags that every command which talks to a server shares, their environment variables, and the
// profiles of the configuration file. A flag wins over the environment, that over the profile, that
// over the default.
//
// Not thread-safe; lives as long as the CLI::App that writes into it.
#ifndef SYNTHVOL_CLIENT_CLI_CONNECTION_H_
#define SYNTHVOL_CLIENT_CLI_CONNECTION_H_

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client.h"

namespace synthvol::client {

class ConnectionFlags {
 public:
  // Adds the flags to a command.
  void AddTo(CLI::App& command);

  // Applies the profile and makes the client.
  absl::StatusOr<std::unique_ptr<Client>> MakeClient();
  // Returns options for a call, after MakeClient.
  CallOptions Call() const;
  // Returns the client's options, after MakeClient.
  const ClientOptions& options() const { return options_; }
  // Turns retrying off, for `bench`, which counts errors.
  void DisableRetries() { retries_ = 0; }

 private:
  absl::Status ApplyProfile();

  // Options that a profile may set, in the order of --help.
  std::vector<CLI::Option*> profile_options_;
  std::string profile_;
  std::string config_file_;
  std::vector<std::string> servers_{"127.0.0.1:8500"};
  bool tls_ = false;
  std::string tls_ca_;
  std::string tls_certificate_;
  std::string tls_key_;
  std::string tls_server_name_;
  std::string token_file_;
  double timeout_seconds_ = 0;
  int retries_ = 7;
  ClientOptions options_;
};

// Returns the configuration file's default place: $XDG_CONFIG_HOME or ~/.config, then
// synthvol/config.json.
std::string DefaultConfigFile();

// Adds code name and reason to a message: "NOT_FOUND: no model 'x'".
absl::Status Explain(const absl::Status& status);

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_CLI_CONNECTION_H_
