#include "model/eval/statistics/ms_ssim.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"

namespace synthvol::model {
namespace {

constexpr int64_t kTaps = 11;
constexpr double kSigma = 1.5;
constexpr double kRange = 2.0;
constexpr std::array<double, 5> kWeights = {0.0448, 0.2856, 0.3001, 0.2363, 0.1333};

// A block of voxels [d, h, w].
struct Block {
  int64_t d = 0;
  int64_t h = 0;
  int64_t w = 0;
  std::vector<float> voxels;
};

std::array<float, kTaps> GaussianTaps() {
  std::array<double, kTaps> taps{};
  for (int64_t i = 0; i < kTaps; ++i) {
    const double x = static_cast<double>(i - kTaps / 2) / kSigma;
    taps[i] = std::exp(-x * x / 2);
  }
  const double sum = std::accumulate(taps.begin(), taps.end(), 0.0);
  std::array<float, kTaps> scaled{};
  for (int64_t i = 0; i < kTaps; ++i) scaled[i] = static_cast<float>(taps[i] / sum);
  return scaled;
}

// Filters along one axis, keeping what the window covers whole: `outer` runs of `length` positions
// that are `inner` voxels each.
std::vector<float> FilterAxis(const std::vector<float>& in, int64_t outer, int64_t length,
                              int64_t inner) {
  static const std::array<float, kTaps> taps = GaussianTaps();
  const int64_t kept = length - kTaps + 1;
  std::vector<float> out(static_cast<size_t>(outer * kept * inner));
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t k = 0; k < kept; ++k) {
      float* const to = &out[(o * kept + k) * inner];
      for (int64_t t = 0; t < kTaps; ++t) {
        const float* const from = &in[(o * length + k + t) * inner];
        for (int64_t i = 0; i < inner; ++i) to[i] += taps[t] * from[i];
      }
    }
  }
  return out;
}

// Filters along z, y, x in turn; each pass but the last runs over whole rows.
std::vector<float> Filter(const Block& block) {
  const int64_t d = block.d - kTaps + 1;
  const int64_t h = block.h - kTaps + 1;
  std::vector<float> along_z = FilterAxis(block.voxels, 1, block.d, block.h * block.w);
  std::vector<float> along_y = FilterAxis(along_z, d, block.h, block.w);
  return FilterAxis(along_y, d * h, block.w, 1);
}

std::vector<float> FilteredProduct(const Block& a, const Block& b) {
  Block product{a.d, a.h, a.w, std::vector<float>(a.voxels.size())};
  std::transform(a.voxels.begin(), a.voxels.end(), b.voxels.begin(), product.voxels.begin(),
                 std::multiplies<>());
  return Filter(product);
}

// Mean structural similarity of one scale, and its part without the luminance term.
struct Similarity {
  double whole = 0;
  double contrast = 0;
};

Similarity Compare(const Block& a, const Block& b) {
  constexpr double kC1 = (0.01 * kRange) * (0.01 * kRange);
  constexpr double kC2 = (0.03 * kRange) * (0.03 * kRange);
  const std::vector<float> mean_a = Filter(a);
  const std::vector<float> mean_b = Filter(b);
  const std::vector<float> aa = FilteredProduct(a, a);
  const std::vector<float> bb = FilteredProduct(b, b);
  const std::vector<float> ab = FilteredProduct(a, b);
  Similarity sum;
  for (size_t i = 0; i < mean_a.size(); ++i) {
    const double ma = mean_a[i];
    const double mb = mean_b[i];
    const double contrast =
        (2 * (ab[i] - ma * mb) + kC2) / (aa[i] - ma * ma + bb[i] - mb * mb + kC2);
    sum.contrast += contrast;
    sum.whole += contrast * (2 * ma * mb + kC1) / (ma * ma + mb * mb + kC1);
  }
  const auto count = static_cast<double>(mean_a.size());
  return {sum.whole / count, sum.contrast / count};
}

Block Halve(const Block& block) {
  Block half{block.d / 2, block.h / 2, block.w / 2, {}};
  half.voxels.reserve(static_cast<size_t>(half.d * half.h * half.w));
  for (int64_t z = 0; z < half.d; ++z) {
    for (int64_t y = 0; y < half.h; ++y) {
      for (int64_t x = 0; x < half.w; ++x) {
        float sum = 0;
        for (int64_t corner = 0; corner < 8; ++corner) {
          const int64_t from_z = 2 * z + corner / 4;
          const int64_t from_y = 2 * y + corner / 2 % 2;
          sum += block.voxels[(from_z * block.h + from_y) * block.w + 2 * x + corner % 2];
        }
        half.voxels.push_back(sum / 8);
      }
    }
  }
  return half;
}

}  // namespace

int MsSsimScales(int64_t size) {
  int scales = 0;
  while (scales < static_cast<int>(kWeights.size()) && (size >> scales) >= kTaps) ++scales;
  return scales;
}

absl::StatusOr<double> MsSsim(absl::Span<const float> a, absl::Span<const float> b, int64_t size) {
  const int scales = MsSsimScales(size);
  const auto voxels = static_cast<size_t>(size * size * size);
  if (scales == 0 || a.size() != voxels || b.size() != voxels) {
    return absl::InvalidArgumentError(absl::StrCat(
        "MS-SSIM needs two cubes of one size, at least 11 voxels a side; found ", size));
  }
  const double weights = std::accumulate(kWeights.begin(), kWeights.begin() + scales, 0.0);
  Block left{size, size, size, {a.begin(), a.end()}};
  Block right{size, size, size, {b.begin(), b.end()}};
  double product = 1;
  for (int scale = 0; scale < scales; ++scale) {
    const Similarity similarity = Compare(left, right);
    const bool last = scale + 1 == scales;
    const double term = std::max(0.0, last ? similarity.whole : similarity.contrast);
    product *= std::pow(term, kWeights[scale] / weights);
    if (!last) {
      left = Halve(left);
      right = Halve(right);
    }
  }
  return product;
}

std::vector<float> AverageDown(absl::Span<const float> volume, int64_t size, int64_t target) {
  const int64_t block = size / target;
  std::vector<double> sums(static_cast<size_t>(target * target * target));
  for (int64_t z = 0; z < size; ++z) {
    for (int64_t y = 0; y < size; ++y) {
      double* const row = &sums[(z / block * target + y / block) * target];
      const float* const from = &volume[(z * size + y) * size];
      for (int64_t x = 0; x < size; ++x) row[x / block] += from[x];
    }
  }
  std::vector<float> means(sums.size());
  const auto count = static_cast<double>(block * block * block);
  for (size_t i = 0; i < sums.size(); ++i) means[i] = static_cast<float>(sums[i] / count);
  return means;
}

}  // namespace synthvol::model
