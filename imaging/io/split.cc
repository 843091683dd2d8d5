#include "imaging/io/split.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/checksum.h"

namespace synthvol::imaging {

void AssignSplits(double train_fraction, uint64_t seed, std::vector<DatasetItem>* items) {
  std::map<std::string, std::string> patient_by_hash;
  for (const DatasetItem& item : *items) {
    patient_by_hash[Sha256Hex(absl::StrCat(seed, ":", item.patient))] = item.patient;
  }
  const auto patients = static_cast<int64_t>(patient_by_hash.size());
  // The small number makes 0.5 round up although 1 - 0.9 is a little less than 0.1.
  const int64_t wanted = std::lround((1.0 - train_fraction) * static_cast<double>(patients) + 1e-9);
  const int64_t validating = std::clamp<int64_t>(wanted, 0, std::max<int64_t>(0, patients - 1));
  std::set<std::string> validation;
  for (const auto& [hash, patient] : patient_by_hash) {
    if (static_cast<int64_t>(validation.size()) == validating) break;
    validation.insert(patient);
  }
  for (DatasetItem& item : *items) {
    item.split = validation.contains(item.patient) ? Split::kValidation : Split::kTrain;
  }
}

}  // namespace synthvol::imaging
