// Prints name, shape and SHA-256 of every tensor of a checkpoint folder that passes all checks:
// what checkpoint_python.py compares. Usage: checkpoint_probe FOLDER
#include <cstdint>
#include <iostream>

#include "base/checksum.h"
#include "model/checkpoint/checkpoint.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto checkpoint = synthvol::model::OpenCheckpoint(argv[1]);
  const absl::Status status =
      checkpoint.ok() ? synthvol::model::CheckGeneratorWeights(*checkpoint) : checkpoint.status();
  if (!status.ok()) {
    std::cerr << status << "\n";
    return 1;
  }
  for (const auto& [name, entry] : checkpoint->weights.tensors()) {
    std::cout << name;
    for (const int64_t extent : entry.shape) std::cout << " " << extent;
    std::cout << " " << synthvol::Sha256Hex(entry.bytes) << "\n";
  }
  return 0;
}
