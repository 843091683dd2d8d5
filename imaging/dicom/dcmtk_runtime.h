// What DCMTK needs once a process: data dictionary, codecs, quiet logging. Private to
// imaging/dicom.
//
// Thread-safe.
#ifndef SYNTHVOL_IMAGING_DICOM_DCMTK_RUNTIME_H_
#define SYNTHVOL_IMAGING_DICOM_DCMTK_RUNTIME_H_

#include "absl/status/status.h"

namespace synthvol::imaging::dicom {

// Silences DCMTK's own log (errors come back as statuses) and checks its data dictionary.
// FAILED_PRECONDITION says how to name the dictionary.
absl::Status StartDcmtk();

// Registers the RLE and JPEG-LS codecs; the first call counts.
void RegisterCodecs();

// Blocks SIGPIPE in the calling thread: DCMTK writes to sockets that the peer may have closed, and
// a library may not change the process's handler.
void BlockBrokenPipeSignal();

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_DCMTK_RUNTIME_H_
