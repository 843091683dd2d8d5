// Bearer tokens: who a caller is and what it may do. Only SHA-256 hashes are stored and held.
//
// Thread-safe. Reads its file again when that changes; a file that cannot be read leaves the old
// tokens in force.
#ifndef SYNTHVOL_SERVER_SECURITY_TOKEN_STORE_H_
#define SYNTHVOL_SERVER_SECURITY_TOKEN_STORE_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace synthvol::server {

// What a caller may do; bits.
enum Scope : unsigned { kSynthesize = 1, kDeliver = 2, kAdmin = 4 };

// Parses "synthesize", "deliver" or "admin".
std::optional<Scope> ParseScope(absl::string_view text);
const char* ToString(Scope scope);

// Somebody whose credentials were checked.
struct Caller {
  std::string tenant;
  unsigned scopes = 0;
};

// A token's hash and what it stands for.
struct TokenEntry {
  // 32 raw bytes.
  std::string sha256;
  Caller caller;
};

// Parses the token file; INVALID_ARGUMENT names the entry and never repeats a hash.
absl::StatusOr<std::vector<TokenEntry>> ParseTokens(const std::string& json);

// Returns whether two strings of equal length are equal, in time that depends on the length only.
bool EqualInConstantTime(absl::string_view a, absl::string_view b);

class TokenStore {
 public:
  // Reads `path` and looks at it again every `reload_interval`. `on_error` gets a line for the log.
  static absl::StatusOr<std::unique_ptr<TokenStore>> Open(
      const std::string& path, absl::Duration reload_interval,
      std::function<void(const std::string&)> on_error);
  ~TokenStore();

  // Returns whose token it is. Compares with every entry in constant time, so that timing tells
  // nothing about which are near.
  std::optional<Caller> Find(absl::string_view token) const;

 private:
  TokenStore(std::string path, std::function<void(const std::string&)> on_error)
      : path_(std::move(path)), on_error_(std::move(on_error)) {}

  absl::Status Reload();
  void Loop(absl::Duration interval);

  const std::string path_;
  const std::function<void(const std::string&)> on_error_;
  mutable absl::Mutex mutex_;
  std::vector<TokenEntry> tokens_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_SECURITY_TOKEN_STORE_H_
