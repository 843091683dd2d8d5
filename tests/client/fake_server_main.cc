// The misbehaving server as a program, for tests of `synthvol` and of the Python package:
//   synthvol-fake-server --port-file FILE [--port P] [--size N] [--break-probability P] [--fault
//   KIND:BYTES]...
#include <fstream>
#include <iostream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/atomic_file.h"
#include "base/command_line.h"
#include "grpcpp/security/server_credentials.h"
#include "tests/client/fake_server.h"

namespace synthvol::client {
namespace {

absl::StatusOr<Fault> ParseFault(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  Fault fault;
  const std::pair<const char*, FaultKind> kinds[] = {{"break", FaultKind::kBreak},
                                                     {"end-early", FaultKind::kEndEarly},
                                                     {"crc", FaultKind::kCorruptCrc},
                                                     {"sha", FaultKind::kCorruptSha},
                                                     {"skip", FaultKind::kSkipChunk},
                                                     {"seed", FaultKind::kWrongSeed},
                                                     {"geometry", FaultKind::kHugeGeometry},
                                                     {"name", FaultKind::kEvilFileName},
                                                     {"hang", FaultKind::kHang}};
  for (const auto& [name, kind] : kinds) {
    if (parts[0] == name) fault.kind = kind;
  }
  int code = static_cast<int>(grpc::StatusCode::UNAVAILABLE);
  if (fault.kind == FaultKind::kNone ||
      (parts.size() > 1 && !absl::SimpleAtoi(parts[1], &fault.after_bytes)) ||
      (parts.size() > 2 && !absl::SimpleAtoi(parts[2], &code)) ||
      (parts.size() > 3 && !absl::SimpleAtod(parts[3], &fault.retry_seconds))) {
    return absl::InvalidArgumentError(
        absl::StrCat("--fault ", text, ": expected KIND[:BYTES[:CODE[:RETRY]]]"));
  }
  fault.code = static_cast<grpc::StatusCode>(code);
  return fault;
}

absl::Status Run(FakeServerOptions options, const std::string& port_file,
                 const std::vector<std::string>& faults, const std::string& certificate,
                 const std::string& key) {
  if (!certificate.empty()) {
    absl::StatusOr<std::string> chain = ReadFile(certificate);
    absl::StatusOr<std::string> secret = ReadFile(key);
    if (!chain.ok()) return chain.status();
    if (!secret.ok()) return secret.status();
    grpc::SslServerCredentialsOptions ssl;
    ssl.pem_key_cert_pairs.push_back({*secret, *chain});
    options.credentials = grpc::SslServerCredentials(ssl);
  }
  FakeServer server(options);
  for (const std::string& text : faults) {
    const absl::StatusOr<Fault> fault = ParseFault(text);
    if (!fault.ok()) return fault.status();
    server.Plan(*fault);
  }
  if (absl::Status status = WriteFileAtomically(port_file, absl::StrCat(server.address(), "\n"));
      !status.ok()) {
    return status;
  }
  server.Wait();
  return absl::OkStatus();
}

}  // namespace
}  // namespace synthvol::client

int main(int argc, char** argv) {
  CLI::App app("A synthvol server that misbehaves by plan.", "synthvol-fake-server");
  synthvol::client::FakeServerOptions options;
  std::string port_file;
  std::string certificate;
  std::string key;
  std::vector<std::string> faults;
  int delay_ms = 0;
  int port = 0;
  app.add_option("--port-file", port_file, "Written when the server listens")->required();
  app.add_option("--port", port, "Port; 0 takes a free one");
  app.add_option("--size", options.size, "Voxels a side");
  app.add_option("--build", options.build, "Build that headers state");
  app.add_option("--digest", options.digest, "Model digest that headers state");
  app.add_option("--token", options.token, "Bearer token asked for");
  app.add_option("--chunk-bytes", options.chunk_bytes, "Payload of a chunk");
  app.add_option("--delay-ms", delay_ms, "Pause before each chunk");
  app.add_option("--break-probability", options.break_probability,
                 "Chance that a chunk breaks its stream");
  app.add_option("--random-seed", options.random_seed, "Seed of that chance");
  app.add_option("--tls-cert", certificate, "PEM");
  app.add_option("--tls-key", key, "PEM");
  app.add_option("--fault", faults, "KIND[:BYTES[:CODE[:RETRY]]], one per Synthesize call")
      ->take_all();
  if (const auto exit_status = synthvol::ParseCommandLine(app, argc, argv)) return *exit_status;
  options.per_chunk = absl::Milliseconds(delay_ms);
  options.address = absl::StrCat("127.0.0.1:", port);
  const absl::Status status = synthvol::client::Run(options, port_file, faults, certificate, key);
  return status.ok() ? synthvol::kExitFine : synthvol::ReportError("synthvol-fake-server", status);
}
