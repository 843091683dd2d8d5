#include "imaging/dicom/dcmtk_runtime.h"

#include <csignal>
#include <mutex>

#include "dcmtk/config/osconfig.h"
#include "dcmtk/dcmdata/dcrledrg.h"
#include "dcmtk/dcmdata/dcrleerg.h"
#include "dcmtk/dcmdata/dctk.h"
#include "dcmtk/dcmjpls/djdecode.h"
#include "dcmtk/dcmjpls/djencode.h"
#include "dcmtk/oflog/oflog.h"

namespace synthvol::imaging::dicom {

absl::Status StartDcmtk() {
  static std::once_flag once;
  std::call_once(once, [] { OFLog::configure(OFLogger::OFF_LOG_LEVEL); });
  if (!dcmDataDict.isDictionaryLoaded()) {
    return absl::FailedPreconditionError(
        "DCMTK's data dictionary is not loaded: install libdcmtk's dicom.dic, or name it in "
        "DCMDICTPATH");
  }
  return absl::OkStatus();
}

void RegisterCodecs() {
  static std::once_flag once;
  std::call_once(once, [] {
    DcmRLEEncoderRegistration::registerCodecs();
    DcmRLEDecoderRegistration::registerCodecs();
    // "Raw" encoding: every bit of the 16, and no look at the image's meaning.
    DJLSEncoderRegistration::registerCodecs(OFFalse, 0, 0, 0, 0, /*preferCookedEncoding=*/OFFalse);
    DJLSDecoderRegistration::registerCodecs();
  });
}

void BlockBrokenPipeSignal() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

}  // namespace synthvol::imaging::dicom
