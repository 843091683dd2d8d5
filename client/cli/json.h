// Protobuf messages as JSON with the API's own field names.
#ifndef SYNTHVOL_CLIENT_CLI_JSON_H_
#define SYNTHVOL_CLIENT_CLI_JSON_H_

#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <nlohmann/json.hpp>
#include <string>

namespace synthvol::client {

// Converts a message; 64-bit numbers become strings, as protobuf's JSON mapping has them.
inline nlohmann::json ToJson(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  // A message of this process always prints; an empty object stands for the impossible.
  if (!google::protobuf::util::MessageToJsonString(message, &text, options).ok())
    return nlohmann::json::object();
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_CLI_JSON_H_
