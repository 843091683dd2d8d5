// One HTTP(S) POST from a spool file, by libcurl. Private to imaging/dicom.
#ifndef SYNTHVOL_IMAGING_DICOM_HTTP_POST_H_
#define SYNTHVOL_IMAGING_DICOM_HTTP_POST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "imaging/dicom/delivery_tracker.h"
#include "imaging/dicom/destination.h"
#include "imaging/dicom/spool_file.h"

namespace synthvol::imaging::dicom {

struct HttpAnswer {
  int64_t code = 0;
  std::string body;      // cut after 16 MiB
  std::string location;  // of a redirection
};

// Posts the file with these headers ("Name: value"), the credentials and TLS of `config`. Does not
// follow redirections: the destination is the configured one. UNAVAILABLE when the server cannot be
// reached or broke off; FAILED_PRECONDITION when TLS fails; CANCELLED. Any HTTP code is an answer.
absl::StatusOr<HttpAnswer> HttpPost(const DestinationConfig& config, const std::string& url,
                                    const std::vector<std::string>& headers, const SpoolFile& body,
                                    const DeliveryTracker& tracker);

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_HTTP_POST_H_
