// How fast imaging/dicom encodes slices: bytes of pixels a second on one core, by transfer syntax
// and size.
//
//   build/release/bin/dicom_encoding
#include <benchmark/benchmark.h>

#include <vector>

#include "imaging/dicom/series_encoder.h"

namespace synthvol::imaging::dicom {
namespace {

// A body of about 0 HU with noise of +-32 HU in air, `size` voxels a side: as compressible as CT
// is.
std::vector<int16_t> Plane(int64_t size) {
  std::vector<int16_t> plane(static_cast<size_t>(size * size));
  uint32_t state = 1;
  for (int64_t y = 0; y < size; ++y) {
    for (int64_t x = 0; x < size; ++x) {
      state = state * 1664525 + 1013904223;
      const int64_t dx = x - size / 2;
      const int64_t dy = y - size / 2;
      const bool body = dx * dx + dy * dy < size * size * 2 / 9;
      plane[static_cast<size_t>(y * size + x)] =
          static_cast<int16_t>((body ? 0 : -1000) + static_cast<int>(state >> 26) - 32);
    }
  }
  return plane;
}

void EncodeSlices(benchmark::State& state, Storage storage, TransferSyntax syntax) {
  const int64_t size = state.range(0);
  SeriesDescription description;
  description.storage = storage;
  description.transfer_syntax = syntax;
  description.geometry = CentredCube(size, {1, 1, 1});
  description.model_name = "benchmark";
  description.model_digest = std::string(64, '0');
  description.seed_text = "benchmark";
  description.build = "benchmark";
  description.uid_key = "benchmark";
  auto encoder = SeriesEncoder::Create(description);
  if (!encoder.ok()) {
    state.SkipWithError(encoder.status().ToString().c_str());
    return;
  }
  const std::vector<int16_t> plane = Plane(size);
  EncodedSlice slice;
  int64_t index = 0;
  int64_t encoded_bytes = 0;
  for ([[maybe_unused]] auto _ : state) {
    if (!(*encoder)->EncodeSlice(index, plane, &slice).ok()) state.SkipWithError("encoding failed");
    benchmark::DoNotOptimize(slice.bytes.data());
    encoded_bytes += static_cast<int64_t>(slice.bytes.size());
    index = (index + 1) % size;
  }
  const int64_t pixel_bytes = state.iterations() * size * size * 2;
  state.SetBytesProcessed(pixel_bytes);
  state.counters["file/pixels"] =
      static_cast<double>(encoded_bytes) / static_cast<double>(pixel_bytes);
}

constexpr auto kSlices = Storage::kSlices;
constexpr auto kEnhanced = Storage::kEnhanced;
#define SYNTHVOL_ENCODING(name, ...) \
  BENCHMARK_CAPTURE(EncodeSlices, name, __VA_ARGS__)->Arg(128)->Arg(256)->Arg(512)
SYNTHVOL_ENCODING(ct_explicit, kSlices, TransferSyntax::kExplicitLittleEndian);
SYNTHVOL_ENCODING(ct_implicit, kSlices, TransferSyntax::kImplicitLittleEndian);
SYNTHVOL_ENCODING(ct_deflated, kSlices, TransferSyntax::kDeflated);
SYNTHVOL_ENCODING(ct_rle, kSlices, TransferSyntax::kRleLossless);
SYNTHVOL_ENCODING(ct_jpeg_ls, kSlices, TransferSyntax::kJpegLsLossless);
SYNTHVOL_ENCODING(enhanced_explicit, kEnhanced, TransferSyntax::kExplicitLittleEndian);

}  // namespace
}  // namespace synthvol::imaging::dicom

BENCHMARK_MAIN();
