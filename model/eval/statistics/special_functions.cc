#include "model/eval/statistics/special_functions.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace synthvol::model {
namespace {

constexpr double kTiny = 1e-300;
constexpr double kPrecision = 4e-16;
constexpr int kMaxTerms = 100000;

// Steps Lentz's evaluation of a continued fraction; the two factors must not be 0.
struct Lentz {
  double c;
  double d;
  double value;

  double Step(double numerator, double denominator) {
    d = denominator + numerator * d;
    d = 1 / (std::abs(d) < kTiny ? kTiny : d);
    c = denominator + numerator / c;
    if (std::abs(c) < kTiny) c = kTiny;
    value *= c * d;
    return c * d;
  }
};

// The continued fraction of I_x(a, b) (DLMF 8.17.22), which converges fast for x below the mean.
double BetaFraction(double a, double b, double x) {
  Lentz lentz{1, 0, 1};
  for (int m = 1; m < kMaxTerms; ++m) {
    const double odd = -(a + m - 1) * (a + b + m - 1) * x / ((a + 2 * m - 2) * (a + 2 * m - 1));
    lentz.Step(odd, 1);
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    if (std::abs(lentz.Step(even, 1) - 1) < kPrecision) break;
  }
  return 1 / lentz.value;
}

// Returns the upper regularised incomplete gamma function Q(a, x).
double RegularizedGammaQ(double a, double x) {
  if (x <= 0) return 1;
  const double front = std::exp(a * std::log(x) - x - std::lgamma(a));
  if (x < a + 1) {
    double term = 1 / a;
    double sum = term;
    for (int n = 1; n < kMaxTerms && term > sum * kPrecision; ++n) {
      term *= x / (a + n);
      sum += term;
    }
    return 1 - front * sum;
  }
  // DLMF 8.9.2 in its even form.
  double b = x + 1 - a;
  Lentz lentz{1 / kTiny, 1 / b, 1 / b};
  for (int n = 1; n < kMaxTerms; ++n) {
    b += 2;
    if (std::abs(lentz.Step(-n * (n - a), b) - 1) < kPrecision) break;
  }
  return front * lentz.value;
}

}  // namespace

double RegularizedBeta(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double front = std::exp(a * std::log(x) + b * std::log1p(-x) + std::lgamma(a + b) -
                                std::lgamma(a) - std::lgamma(b));
  if (x < (a + 1) / (a + b + 2)) return front / a * BetaFraction(a, b, x);
  return 1 - front / b * BetaFraction(b, a, 1 - x);
}

double InverseRegularizedBeta(double a, double b, double p) {
  // I_x is monotone in x: bisection to the last bit.
  double low = 0;
  double high = 1;
  while (true) {
    const double middle = (low + high) / 2;
    if (middle <= low || middle >= high) return middle;
    (RegularizedBeta(a, b, middle) < p ? low : high) = middle;
  }
}

double ChiSquareSurvival(double x, double degrees) { return RegularizedGammaQ(degrees / 2, x / 2); }

double NormalSurvival(double z) { return std::erfc(z / std::sqrt(2.0)) / 2; }

std::pair<double, double> ClopperPearson(int64_t successes, int64_t trials, double level) {
  const double alpha = 1 - level;
  const auto k = static_cast<double>(successes);
  const auto n = static_cast<double>(trials);
  return {successes == 0 ? 0 : InverseRegularizedBeta(k, n - k + 1, alpha / 2),
          successes == trials ? 1 : InverseRegularizedBeta(k + 1, n - k, 1 - alpha / 2)};
}

double BinomialTestOfHalf(int64_t successes, int64_t trials) {
  // Symmetric under 1/2: twice the larger side's tail P(X >= m) = I_{1/2}(m, n - m + 1).
  const int64_t larger = std::max(successes, trials - successes);
  if (2 * larger == trials) return 1;
  const auto m = static_cast<double>(larger);
  return std::min(1.0, 2 * RegularizedBeta(m, static_cast<double>(trials) - m + 1, 0.5));
}

}  // namespace synthvol::model
