// Distribution functions that the tests of the reader study need. Pure functions.
#ifndef SYNTHVOL_MODEL_EVAL_STATISTICS_SPECIAL_FUNCTIONS_H_
#define SYNTHVOL_MODEL_EVAL_STATISTICS_SPECIAL_FUNCTIONS_H_

#include <cstdint>
#include <utility>

namespace synthvol::model {

// Returns the regularised incomplete beta function I_x(a, b), a, b > 0, 0 <= x <= 1.
double RegularizedBeta(double a, double b, double x);
// Returns x with I_x(a, b) = p.
double InverseRegularizedBeta(double a, double b, double p);
// Returns P(X >= x) for a chi-square variable with `degrees` degrees of freedom.
double ChiSquareSurvival(double x, double degrees);
// Returns P(Z >= z) for a standard normal variable.
double NormalSurvival(double z);

// Returns the exact (Clopper-Pearson) interval of a proportion: `successes` of `trials`.
std::pair<double, double> ClopperPearson(int64_t successes, int64_t trials, double level);
// Returns the exact two-sided p value of `successes` of `trials` under P = 1/2.
double BinomialTestOfHalf(int64_t successes, int64_t trials);

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_STATISTICS_SPECIAL_FUNCTIONS_H_
