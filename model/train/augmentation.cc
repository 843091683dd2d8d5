#include "model/train/augmentation.h"

#include <algorithm>
#include <vector>

#include "imaging/dataset.h"

namespace synthvol::model {
namespace {

constexpr float kScale = 1.0F / imaging::kUnitScale;

// Writes row x -> in[clamp(x + shift)], mirrored first if asked.
void MoveRow(const int16_t* in, int64_t n, bool flip, int64_t shift, int16_t* out) {
  // Output x comes from (flip ? n-1-x : x) + shift; those within the row are one run.
  const int64_t move = flip ? -shift : shift;
  const int64_t begin = std::clamp<int64_t>(-move, 0, n);
  const int64_t end = std::clamp<int64_t>(n - move, begin, n);
  const int16_t before = flip ? in[n - 1] : in[0];
  const int16_t after = flip ? in[0] : in[n - 1];
  std::fill(out, out + begin, before);
  if (flip) {
    std::reverse_copy(in + (n - end - move), in + (n - begin - move), out + begin);
  } else {
    std::copy(in + begin + move, in + end + move, out + begin);
  }
  std::fill(out + end, out + n, after);
}

}  // namespace

DrawnAugmentation DrawAugmentation(const Augmentation& augmentation, uint64_t seed,
                                   uint64_t index) {
  DrawnAugmentation drawn;
  if (!augmentation.Any()) return drawn;
  auto draw = [seed, index, counter = uint64_t{0}]() mutable {
    return RandomBits(seed, Purpose::kAugmentation, index * 8 + counter++);
  };
  drawn.any = true;
  drawn.flip = (draw() & 1) != 0 && augmentation.flip;
  for (int64_t& s : drawn.shift) {
    s = static_cast<int64_t>(
            RandomBelow(draw(), static_cast<uint64_t>(2 * augmentation.shift + 1))) -
        augmentation.shift;
  }
  drawn.gain = static_cast<float>(1.0 + augmentation.jitter * RandomSigned(draw()));
  drawn.offset = static_cast<float>(augmentation.jitter * RandomSigned(draw()));
  return drawn;
}

void AugmentSlices(absl::Span<const int16_t> volume, int64_t n, const DrawnAugmentation& drawn,
                   int64_t first, int64_t last, float* out) {
  const auto row_voxels = static_cast<size_t>(n);
  if (!drawn.any) {
    const int16_t* in = volume.data() + first * n * n;
    for (int64_t i = 0; i < (last - first) * n * n; ++i)
      out[i] = static_cast<float>(in[i]) * kScale;
    return;
  }
  const auto clamp = [n](int64_t v) { return std::clamp<int64_t>(v, 0, n - 1); };
  std::vector<int16_t> moved(row_voxels);
  for (int64_t z = first; z < last; ++z) {
    for (int64_t y = 0; y < n; ++y, out += n) {
      const int64_t row = (clamp(z + drawn.shift[0]) * n + clamp(y + drawn.shift[1])) * n;
      MoveRow(volume.data() + row, n, drawn.flip, drawn.shift[2], moved.data());
      for (size_t x = 0; x < row_voxels; ++x) {
        const float value = static_cast<float>(moved[x]) * kScale;
        // Air and the window's top stay where they are: contrast is about the middle.
        const float changed = value * drawn.gain + drawn.offset * (1.0F - value * value);
        out[x] = std::max(-1.0F, std::min(1.0F, changed));
      }
    }
  }
}

}  // namespace synthvol::model
