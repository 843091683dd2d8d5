#include "client/cli/connection.h"

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/atomic_file.h"

namespace synthvol::client {
namespace {

using nlohmann::json;

constexpr char kGroup[] = "Connection";

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Turns a profile's value into what the flag would have been given.
absl::StatusOr<std::vector<std::string>> FlagValues(const json& value) {
  std::vector<std::string> values;
  for (const json& item : value.is_array() ? value : json::array({value})) {
    if (item.is_string()) {
      values.push_back(item.get<std::string>());
    } else if (item.is_number() || item.is_boolean()) {
      values.push_back(item.dump());
    } else {
      return absl::InvalidArgumentError(
          "expected a string, a number, true or false, or a list of strings");
    }
  }
  return values;
}

absl::StatusOr<json> ReadConfig(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path, 1 << 20);
  if (!text.ok()) return text.status();
  json config = json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object() || !config.contains("profiles") || !config["profiles"].is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": expected JSON {\"default\": NAME, \"profiles\": {NAME: {FLAG: VALUE}}}"));
  }
  return config;
}

}  // namespace

std::string DefaultConfigFile() {
  std::string folder = Environment("XDG_CONFIG_HOME");
  if (folder.empty()) folder = absl::StrCat(Environment("HOME"), "/.config");
  return absl::StrCat(folder, "/synthvol/config.json");
}

void ConnectionFlags::AddTo(CLI::App& command) {
  const auto add = [&](const std::string& flag, auto& variable, const std::string& help,
                       const std::string& environment) {
    CLI::Option* option = command.add_option(flag, variable, help)->group(kGroup);
    if (!environment.empty()) option->envname(environment);
    return option;
  };
  profile_options_ = {
      add("--server", servers_,
          "Server, or several separated by commas: taken in turn, with fail-over",
          "SYNTHVOL_SERVER")
          ->delimiter(',')
          ->type_name("HOST:PORT"),
      command.add_flag("--tls", tls_, "Use TLS; any other --tls flag implies it")
          ->envname("SYNTHVOL_TLS")
          ->group(kGroup),
      add("--tls-ca", tls_ca_, "PEM file of certificates to trust; the system's when not given",
          "SYNTHVOL_TLS_CA")
          ->type_name("FILE"),
      add("--tls-cert", tls_certificate_, "PEM file with this client's certificate (mutual TLS)",
          "SYNTHVOL_TLS_CERT")
          ->type_name("FILE"),
      add("--tls-key", tls_key_, "PEM file with this client's key (mutual TLS)", "SYNTHVOL_TLS_KEY")
          ->type_name("FILE"),
      add("--tls-server-name", tls_server_name_,
          "Name that the server's certificate must carry, when it is not the host's",
          "SYNTHVOL_TLS_SERVER_NAME")
          ->type_name("NAME"),
      add("--token-file", token_file_,
          "File with the bearer token, read before each call (or put the token into "
          "SYNTHVOL_TOKEN)",
          "SYNTHVOL_TOKEN_FILE")
          ->type_name("FILE"),
      add("--timeout", timeout_seconds_,
          "Give up after so many seconds, retries included; 0: never", "SYNTHVOL_TIMEOUT")
          ->check(CLI::Validator(CLI::NonNegativeNumber).description(""))
          ->type_name("SECONDS"),
      add("--retries", retries_, "Attempts in a row without a new byte after which to give up",
          "SYNTHVOL_RETRIES")
          ->check(CLI::Range(0, 1000).description(""))
          ->type_name("N"),
  };
  add("--profile", profile_, "Profile of the configuration file to use", "SYNTHVOL_PROFILE")
      ->type_name("NAME");
  add("--config", config_file_,
      "Configuration file with profiles, JSON (default ~/.config/synthvol/config.json)",
      "SYNTHVOL_CONFIG")
      ->type_name("FILE");
}

absl::Status ConnectionFlags::ApplyProfile() {
  const bool named = !config_file_.empty();
  const std::string path = named ? config_file_ : DefaultConfigFile();
  std::error_code ignored;
  if (!named && !std::filesystem::exists(path, ignored)) {
    if (profile_.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("--profile ", profile_, ": there is no configuration file ", path));
  }
  const absl::StatusOr<json> config = ReadConfig(path);
  if (!config.ok()) return config.status();
  std::string name = profile_;
  if (name.empty() && config->contains("default") && (*config)["default"].is_string()) {
    name = (*config)["default"].get<std::string>();
  }
  if (name.empty()) return absl::OkStatus();
  const json& profiles = (*config)["profiles"];
  if (!profiles.contains(name) || !profiles[name].is_object()) {
    std::vector<std::string> names;
    for (const auto& [known, value] : profiles.items()) names.push_back(known);
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": no profile '", name, "'; it has ", absl::StrJoin(names, ", ")));
  }
  for (const auto& [key, value] : profiles[name].items()) {
    const std::string where = absl::StrCat(path, ": profile '", name, "', '", key, "'");
    CLI::Option* target = nullptr;
    for (CLI::Option* option : profile_options_) {
      if (option->check_lname(key)) target = option;
    }
    if (target == nullptr) {
      std::vector<std::string> known;
      for (CLI::Option* option : profile_options_) known.push_back(option->get_lnames().front());
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": unknown; expected one of ", absl::StrJoin(known, ", ")));
    }
    absl::StatusOr<std::vector<std::string>> values = FlagValues(value);
    if (!values.ok())
      return absl::InvalidArgumentError(absl::StrCat(where, ": ", values.status().message()));
    if (target->count() > 0) continue;  // a flag or the environment said otherwise
    try {
      target->add_result(*std::move(values));
      target->run_callback();
    } catch (const CLI::Error& error) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": ", error.what()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Client>> ConnectionFlags::MakeClient() {
  if (absl::Status status = ApplyProfile(); !status.ok()) return status;
  options_ = ClientOptions();
  for (const std::string& server : servers_) {
    for (const auto part : absl::StrSplit(server, ',', absl::SkipEmpty())) {
      options_.endpoints.emplace_back(part);
    }
  }
  options_.tls = {tls_, tls_ca_, tls_certificate_, tls_key_, tls_server_name_};
  options_.tls.enabled = tls_ || !tls_ca_.empty() || !tls_certificate_.empty() ||
                         !tls_key_.empty() || !tls_server_name_.empty();
  options_.token = Environment("SYNTHVOL_TOKEN");
  options_.token_file = token_file_;
  options_.retry.max_attempts = retries_ + 1;
  options_.user_agent = "synthvol";
  return Client::Create(options_);
}

CallOptions ConnectionFlags::Call() const {
  CallOptions call;
  if (timeout_seconds_ > 0) call.timeout = absl::Seconds(timeout_seconds_);
  return call;
}

absl::Status Explain(const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(
      status.code(), absl::StrCat(absl::StatusCodeToString(status.code()), ": ", status.message()));
}

}  // namespace synthvol::client
