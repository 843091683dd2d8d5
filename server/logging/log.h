// Structured logs: one JSON object a line on stderr. Never contains tokens, latents or DICOM
// attributes.
//
// Thread-safe.
#ifndef SYNTHVOL_SERVER_LOGGING_LOG_H_
#define SYNTHVOL_SERVER_LOGGING_LOG_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <variant>

namespace synthvol::server {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// Sets the least level that is written, by its name in the configuration.
void SetLogLevel(const std::string& level);

// Takes over what gRPC and protobuf themselves would print, at level debug: a failed handshake or a
// string that is not UTF-8 is told by its effect, and strangers do not write to our log.
void TakeLibraryLogs();

using LogValue = std::variant<std::string, int64_t, double>;

// Writes {"ts":..., "level":..., "event":EVENT, fields...}; fields that are empty strings are left
// out.
void Log(LogLevel level, const std::string& event,
         std::initializer_list<std::pair<const char*, LogValue>> fields);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_LOGGING_LOG_H_
