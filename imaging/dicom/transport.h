// What associations run over: TCP without waiting, or TLS (PS3.15 B.9 and B.12: BCP 195). Private
// to imaging/dicom.
//
// Free functions, thread-safe.
#ifndef SYNTHVOL_IMAGING_DICOM_TRANSPORT_H_
#define SYNTHVOL_IMAGING_DICOM_TRANSPORT_H_

#include "dcmtk/config/osconfig.h"
// DCMTK wants its configuration first.
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dcmtk/dcmnet/assoc.h"
#include "dcmtk/dcmtls/tlslayer.h"
#include "imaging/dicom/destination.h"

namespace synthvol::imaging::dicom {

// Makes a transport layer: plain TCP, or TLS that verifies the peer. `on_connection` gets the
// descriptor of each connection before a byte goes over it. FAILED_PRECONDITION names the file that
// is wrong.
absl::StatusOr<std::unique_ptr<DcmTransportLayer>> MakeTransportLayer(
    const TlsOptions& options, T_ASC_NetworkRole role, std::function<void(int)> on_connection);

// Acknowledges what arrives next at once: peers that write a message in small pieces would
// otherwise wait 40 ms for us.
void AcknowledgePromptly(int socket);

// Checks that the peer's certificate names config.host, which DCMTK does not do.
absl::Status VerifyPeerHost(const DestinationConfig& config, T_ASC_Association* association);

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_TRANSPORT_H_
