#include "server/security/token_store.h"

#include <openssl/crypto.h>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"
#include "base/checksum.h"
#include "server/registry/model_repository.h"

namespace synthvol::server {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxTokenFileBytes = 16 << 20;
constexpr size_t kHashBytes = 32;

bool IsHex(const std::string& text) {
  return text.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
}

absl::Status Bad(size_t index, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("tokens[", index, "].", what));
}

absl::StatusOr<unsigned> ParseScopes(size_t index, const json& scopes) {
  if (!scopes.is_array() || scopes.empty()) return Bad(index, "scopes: expected a list of scopes");
  unsigned bits = 0;
  for (const json& scope : scopes) {
    const std::optional<Scope> parsed =
        scope.is_string() ? ParseScope(scope.get<std::string>()) : std::nullopt;
    if (!parsed.has_value()) return Bad(index, "scopes: expected synthesize, deliver or admin");
    bits |= *parsed;
  }
  return bits;
}

absl::StatusOr<TokenEntry> ParseEntry(size_t index, const json& token) {
  if (!token.is_object()) return Bad(index, "sha256: is required");
  for (const auto& [key, value] : token.items()) {
    if (key != "sha256" && key != "tenant" && key != "scopes") {
      return Bad(index, "sha256, tenant and scopes are all it may have");
    }
  }
  const auto sha256 = token.find("sha256");
  if (sha256 == token.end() || !sha256->is_string() ||
      sha256->get<std::string>().size() != 2 * kHashBytes || !IsHex(sha256->get<std::string>())) {
    return Bad(index, "sha256: expected 64 hexadecimal digits");
  }
  const auto tenant = token.find("tenant");
  if (tenant == token.end() || !tenant->is_string() || !IsName(tenant->get<std::string>())) {
    return Bad(index, "tenant: expected [A-Za-z0-9_.-]{1,64}");
  }
  const auto scopes = token.find("scopes");
  if (scopes == token.end()) return Bad(index, "scopes: is required");
  const absl::StatusOr<unsigned> bits = ParseScopes(index, *scopes);
  if (!bits.ok()) return bits.status();
  return TokenEntry{absl::HexStringToBytes(sha256->get<std::string>()),
                    Caller{tenant->get<std::string>(), *bits}};
}

}  // namespace

std::optional<Scope> ParseScope(absl::string_view text) {
  if (text == "synthesize") return kSynthesize;
  if (text == "deliver") return kDeliver;
  if (text == "admin") return kAdmin;
  return std::nullopt;
}

const char* ToString(Scope scope) {
  switch (scope) {
    case kSynthesize:
      return "synthesize";
    case kDeliver:
      return "deliver";
    case kAdmin:
      return "admin";
  }
  return "";
}

absl::StatusOr<std::vector<TokenEntry>> ParseTokens(const std::string& text) {
  const json parsed = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object() || parsed.size() != 1 || !parsed.contains("tokens") ||
      !parsed["tokens"].is_array()) {
    return absl::InvalidArgumentError("expected {\"tokens\": [...]}");
  }
  std::vector<TokenEntry> entries;
  for (const json& token : parsed["tokens"]) {
    absl::StatusOr<TokenEntry> entry = ParseEntry(entries.size(), token);
    if (!entry.ok()) return entry.status();
    entries.push_back(*std::move(entry));
  }
  return entries;
}

bool EqualInConstantTime(absl::string_view a, absl::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

absl::StatusOr<std::unique_ptr<TokenStore>> TokenStore::Open(
    const std::string& path, absl::Duration reload_interval,
    std::function<void(const std::string&)> on_error) {
  std::unique_ptr<TokenStore> store(new TokenStore(path, std::move(on_error)));
  if (absl::Status read = store->Reload(); !read.ok()) return read;
  store->thread_ =
      std::thread([raw = store.get(), reload_interval] { raw->Loop(reload_interval); });
  return store;
}

TokenStore::~TokenStore() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status TokenStore::Reload() {
  const absl::StatusOr<std::string> text = ReadFile(path_, kMaxTokenFileBytes);
  if (!text.ok()) return text.status();
  absl::StatusOr<std::vector<TokenEntry>> tokens = ParseTokens(*text);
  if (!tokens.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", tokens.status().message()));
  }
  absl::MutexLock lock(&mutex_);
  tokens_ = *std::move(tokens);
  return absl::OkStatus();
}

void TokenStore::Loop(absl::Duration interval) {
  std::string last_error;
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), interval)) return;
    }
    const absl::Status status = Reload();
    const std::string error(status.message());
    if (!status.ok() && error != last_error) on_error_(error);
    last_error = error;
  }
}

std::optional<Caller> TokenStore::Find(absl::string_view token) const {
  Sha256 sha256;
  sha256.Update(std::string_view(token.data(), token.size()));
  const std::string hash = sha256.Finish();
  absl::MutexLock lock(&mutex_);
  const TokenEntry* found = nullptr;
  for (const TokenEntry& entry : tokens_) {
    if (EqualInConstantTime(entry.sha256, hash)) found = &entry;
  }
  if (found == nullptr) return std::nullopt;
  return found->caller;
}

}  // namespace synthvol::server
