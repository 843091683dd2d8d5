// Prints the statistics of .npy arrays as JSON, for agreement.py to hold against NumPy and SciPy.
// Usage: statistics_probe gaussians|samples|ssim|neighbours FILE...
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "imaging/npy.h"
#include "model/eval/statistics/frechet.h"
#include "model/eval/statistics/memorisation.h"
#include "model/eval/statistics/mmd.h"
#include "model/eval/statistics/ms_ssim.h"
#include "model/eval/statistics/special_functions.h"

namespace synthvol::model {
namespace {

using nlohmann::json;

struct Array {
  std::vector<float> values;
  std::vector<int64_t> shape;

  std::vector<double> Doubles() const { return {values.begin(), values.end()}; }
  FeatureSet Features() const { return {shape.back(), Doubles()}; }
};

Array Read(const std::string& path) {
  Array array;
  array.values = imaging::ReadNpyFloat32(path, &array.shape).value();
  return array;
}

json Gaussians(const std::vector<Array>& a) {
  const auto frechet =
      FrechetOfGaussians(a[0].Doubles(), a[1].Doubles(), a[2].Doubles(), a[3].Doubles()).value();
  return {{"value", frechet.value()}};
}

json Samples(const std::vector<Array>& a) {
  const FeatureSet x = a[0].Features();
  const FeatureSet y = a[1].Features();
  const Frechet frechet = FrechetOfSamples(x, y).value();
  ResamplingOptions options;
  options.replicates = 200;
  const Mmd mmd = MmdOfSamples(x, y, options).value();
  const Interval interval = FrechetInterval(x, y, frechet.value(), options).value();
  return {{"frechet", frechet.value()},
          {"interval", {interval.low, interval.high}},
          {"mmd_interval", {mmd.interval.low, mmd.interval.high}},
          {"mmd", {mmd.unbiased, mmd.biased, mmd.median_distance, mmd.permutation_p}}};
}

json Neighbours(const std::vector<Array>& a) {
  const CopyTest test = FindCopies(a[0].Features(), a[1].Features(), a[2].Features()).value();
  json nearest = json::array();
  for (const Neighbour& neighbour : test.generated) {
    nearest.push_back({neighbour.index, neighbour.distance});
  }
  return {{"nearest", nearest}, {"nearer_p", test.nearer_p}, {"median_real", test.median_real}};
}

// Every function over the rows of one array [n, 3].
json Distributions(const Array& a) {
  json rows = json::array();
  for (size_t i = 0; i + 2 < a.values.size(); i += 3) {
    const double x = a.values[i];
    const double y = a.values[i + 1];
    const double z = a.values[i + 2];
    const auto k = static_cast<int64_t>(x);
    const auto n = static_cast<int64_t>(x + y);
    const auto [low, high] = ClopperPearson(k, n, 0.95);
    rows.push_back({RegularizedBeta(x + 1, y + 1, z), ChiSquareSurvival(x + 10 * z, y + 1),
                    NormalSurvival(4 * z), low, high, BinomialTestOfHalf(k, n)});
  }
  return rows;
}

json Run(const std::string& what, const std::vector<Array>& arrays) {
  if (what == "gaussians") return Gaussians(arrays);
  if (what == "samples") return Samples(arrays);
  if (what == "neighbours") return Neighbours(arrays);
  if (what == "distributions") return Distributions(arrays[0]);
  if (what == "ssim") {
    const int64_t size = arrays[0].shape[0];
    return {{"ms_ssim", MsSsim(arrays[0].values, arrays[1].values, size).value()},
            {"average", AverageDown(arrays[0].values, size, size / 4)[5]}};
  }
  return nullptr;
}

}  // namespace
}  // namespace synthvol::model

int main(int argc, char** argv) {
  std::vector<synthvol::model::Array> arrays;
  for (int i = 2; i < argc; ++i) arrays.push_back(synthvol::model::Read(argv[i]));
  std::cout << synthvol::model::Run(argv[1], arrays) << "\n";
}
