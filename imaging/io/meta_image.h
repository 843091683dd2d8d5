// Whether a MetaImage is all there: ITK reads a truncated one without a word.
//
// A free function, safe from several threads.
#ifndef SYNTHVOL_IMAGING_IO_META_IMAGE_H_
#define SYNTHVOL_IMAGING_IO_META_IMAGE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace synthvol::imaging {

// Checks that the data of a .mha or .mhd file, unpacked if it is compressed, has at least `bytes`
// bytes. DATA_LOSS names the file that is truncated. Data spread over a list of files is left to
// ITK.
absl::Status CheckMetaImageIsComplete(const std::string& path, uint64_t bytes);

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_IO_META_IMAGE_H_
