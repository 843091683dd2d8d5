// Compresses single frames with DCMTK's lossless codecs. Private to imaging/dicom.
//
// Thread-compatible: one thread at a time; objects of several threads do not disturb each other.
#ifndef SYNTHVOL_IMAGING_DICOM_FRAME_CODEC_H_
#define SYNTHVOL_IMAGING_DICOM_FRAME_CODEC_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "imaging/dicom/series_description.h"

namespace synthvol::imaging::dicom {

// Returns whether frames of this syntax are encapsulated (PS3.5 A.4).
bool IsEncapsulated(TransferSyntax syntax);

// Appends the frame [rows, columns] of 16-bit signed pixels, compressed, as the one fragment that
// goes into an item of encapsulated Pixel Data. RLE (PS3.5 Annex G) or JPEG-LS lossless (PS3.5
// A.4.3).
absl::Status AppendCompressedFrame(TransferSyntax syntax, int64_t rows, int64_t columns,
                                   absl::Span<const int16_t> stored, std::string& out);

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_FRAME_CODEC_H_
