// The destinations that the configuration names: the only ones that DeliveryService connects to.
//
// Immutable and thread-safe.
#ifndef SYNTHVOL_SERVER_RPC_DESTINATIONS_H_
#define SYNTHVOL_SERVER_RPC_DESTINATIONS_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "imaging/dicom/destination.h"
#include "synthvol/v1/delivery.pb.h"
#include "synthvol/v1/server_config.pb.h"

namespace synthvol::server {

class Destinations {
 public:
  // Takes what is configured and opens each once; INVALID_ARGUMENT names the field.
  static absl::StatusOr<Destinations> Create(const v1::ServerConfig& config);

  // Returns what callers may know: names and kinds, no addresses.
  v1::ListDestinationsResponse List() const;
  std::vector<std::string> Names() const;
  bool Has(const std::string& name) const { return configs_.count(name) != 0; }
  // Makes a destination ready, reading its credential files afresh; does not connect.
  absl::StatusOr<std::unique_ptr<imaging::dicom::Destination>> Open(const std::string& name) const;

 private:
  std::map<std::string, v1::DestinationConfig> configs_;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_DESTINATIONS_H_
