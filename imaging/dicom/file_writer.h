// One PS3.10 file in the making: head, dataset, then frame after frame, in any of the transfer
// syntaxes. Private to imaging/dicom.
//
// Thread-compatible. Memory is constant: what a call makes is appended to the caller's string.
#ifndef SYNTHVOL_IMAGING_DICOM_FILE_WRITER_H_
#define SYNTHVOL_IMAGING_DICOM_FILE_WRITER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "imaging/dicom/series_encoder.h"

namespace synthvol::imaging::dicom {

class FileWriter {
 public:
  // Files of `frames` frames [rows, columns].
  FileWriter(TransferSyntax syntax, int64_t rows, int64_t columns, int64_t frames);
  ~FileWriter();

  // Starts a file: meta information, `dataset` (encoded, all that comes before Pixel Data) and the
  // head of Pixel Data. A file that was not ended is forgotten.
  absl::Status Begin(const InstanceIdentity& identity, std::string_view dataset, std::string& out);
  // Adds a frame.
  absl::Status Frame(absl::Span<const int16_t> stored, std::string& out);
  // Ends the file.
  absl::Status End(std::string& out);

 private:
  class Deflater;

  // Appends dataset bytes, deflated where the syntax says so.
  absl::Status Emit(std::string_view bytes, std::string& out);

  const TransferSyntax syntax_;
  const int64_t rows_;
  const int64_t columns_;
  const int64_t frames_;
  std::unique_ptr<Deflater> deflater_;
  std::string scratch_;
};

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_FILE_WRITER_H_
