#include "server/logging/log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace synthvol::server {
namespace {

// The line is JSON already; spdlog brings levels, locking and the sink.
std::shared_ptr<spdlog::logger> MakeLogger() {
  auto logger = std::make_shared<spdlog::logger>("synthvol",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%v");
  logger->flush_on(spdlog::level::debug);
  return logger;
}

spdlog::logger& Logger() {
  static const std::shared_ptr<spdlog::logger>* const logger =
      new std::shared_ptr<spdlog::logger>(MakeLogger());
  return **logger;
}

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

const char* Name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "info";
}

void LogTransport(gpr_log_func_args* args) {
  Log(LogLevel::kDebug, "transport", {{"message", args->message}});
}

void LogParser(google::protobuf::LogLevel /*level*/, const char* /*file*/, int /*line*/,
               const std::string& message) {
  Log(LogLevel::kDebug, "parser", {{"message", message}});
}

}  // namespace

void TakeLibraryLogs() {
  gpr_set_log_function(&LogTransport);
  google::protobuf::SetLogHandler(&LogParser);
}

void SetLogLevel(const std::string& level) {
  for (const LogLevel known :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    if (level == Name(known)) Logger().set_level(ToSpdlog(known));
  }
}

void Log(LogLevel level, const std::string& event,
         std::initializer_list<std::pair<const char*, LogValue>> fields) {
  if (!Logger().should_log(ToSpdlog(level))) return;
  nlohmann::ordered_json line;
  line["ts"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", absl::Now(), absl::UTCTimeZone());
  line["level"] = Name(level);
  line["event"] = event;
  for (const auto& [key, value] : fields) {
    const std::string* const text = std::get_if<std::string>(&value);
    if (text != nullptr && text->empty()) continue;
    std::visit([&line, name = key](const auto& v) { line[name] = v; }, value);
  }
  // Bytes that are not UTF-8 are replaced: a log line never fails.
  Logger().log(ToSpdlog(level),
               line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace synthvol::server
