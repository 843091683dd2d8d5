// Which patients train and which validate.
//
// A pure function.
#ifndef SYNTHVOL_IMAGING_IO_SPLIT_H_
#define SYNTHVOL_IMAGING_IO_SPLIT_H_

#include <cstdint>
#include <vector>

#include "imaging/dataset.h"

namespace synthvol::imaging {

// Sets the items' splits: round((1 - train_fraction) * patients) patients validate, chosen by the
// hash of seed and patient, so that the choice depends neither on order nor on machine. At least
// one patient trains.
void AssignSplits(double train_fraction, uint64_t seed, std::vector<DatasetItem>* items);

}  // namespace synthvol::imaging

#endif  // SYNTHVOL_IMAGING_IO_SPLIT_H_
