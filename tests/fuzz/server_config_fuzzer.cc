// libFuzzer target: configuration, token and label files. Whatever the bytes, reading ends with a
// value or a status; a configuration that passes is printed and read again as the same. Built and
// run by tests/fuzz/run config.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "server/config/config.h"
#include "server/registry/model_repository.h"
#include "server/security/token_store.h"

namespace {

namespace server = synthvol::server;

void Require(bool holds) {
  if (!holds) std::abort();
}

void TryConfig(const std::string& text) {
  auto config = server::ParseConfig(text, "input");
  if (!config.ok()) return;
  server::CompleteConfig(*config);
  if (!server::CheckConfig(*config).ok()) return;
  const std::string printed = server::ToJson(*config);
  auto again = server::ParseConfig(printed, "again");
  Require(again.ok() && server::ToJson(*again) == printed);
}

void TryTokens(const std::string& text) {
  const auto tokens = server::ParseTokens(text);
  if (!tokens.ok()) return;
  for (const server::TokenEntry& entry : *tokens) {
    Require(entry.sha256.size() == 32 && server::IsName(entry.caller.tenant));
    Require(entry.caller.scopes != 0 && entry.caller.scopes < 8);
  }
}

void TryLabels(const std::string& text) {
  const auto labels = server::ParseLabels(text);
  if (!labels.ok()) return;
  for (const auto& [label, version] : *labels) Require(server::IsName(label) && version > 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  TryConfig(text);
  TryTokens(text);
  TryLabels(text);
  return 0;
}
