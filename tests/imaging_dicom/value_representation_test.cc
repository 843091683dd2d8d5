#include "imaging/dicom/value_representation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>

namespace synthvol::imaging::dicom {
namespace {

struct Case {
  Vr vr;
  std::string value;
  bool fits;
};

class CheckValueTest : public testing::TestWithParam<Case> {};

TEST_P(CheckValueTest, AcceptsExactlyWhatTheStandardAllows) {
  const Case& c = GetParam();
  const absl::Status status = CheckValue("field.path", c.vr, c.value);
  EXPECT_EQ(status.ok(), c.fits) << c.value << ": " << status;
  if (!status.ok()) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), testing::StartsWith("field.path: "));
    EXPECT_THAT(std::string(status.message()), testing::Not(testing::HasSubstr("\n")));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Text, CheckValueTest,
    testing::Values(
        Case{Vr::kLo, std::string(64, 'x'), true}, Case{Vr::kLo, std::string(65, 'x'), false},
        // Characters count, not bytes.
        Case{Vr::kSh, "ääääääääääääääää", true}, Case{Vr::kSh, "äääääääääääääääää", false},
        Case{Vr::kLo, "a\\b", false}, Case{Vr::kLo, "  ", false}, Case{Vr::kLo, "a\nb", false},
        Case{Vr::kLo, std::string("a\0b", 3), false}, Case{Vr::kLo, "a\x1b$Bb", false},
        Case{Vr::kLo, "a\x7f", false}, Case{Vr::kLo, "a\xc2\x85", false},
        Case{Vr::kLo, "\xff", false}, Case{Vr::kLo, "\xc0\xaf", false},
        Case{Vr::kLo, "\xed\xa0\x80", false}, Case{Vr::kLo, "\xf4\x90\x80\x80", false},
        Case{Vr::kLo, "\xe5\xb1", false}, Case{Vr::kLo, "山田 \xf0\x9f\xab\x81", true}));

INSTANTIATE_TEST_SUITE_P(
    PersonName, CheckValueTest,
    testing::Values(Case{Vr::kPn, "Doe^Jane^A^Dr^MD", true}, Case{Vr::kPn, "a^b^c^d^e^f", false},
                    Case{Vr::kPn, "Yamada^Tarou=山田^太郎=やまだ^たろう", true},
                    Case{Vr::kPn, "a=b=c=d", false}, Case{Vr::kPn, std::string(65, 'x'), false},
                    Case{Vr::kPn, std::string(64, 'x') + "=" + std::string(64, 'y'), true},
                    Case{Vr::kPn, "a\tb", false}, Case{Vr::kPn, "a\\b", false}));

INSTANTIATE_TEST_SUITE_P(
    DateAndTime, CheckValueTest,
    testing::Values(Case{Vr::kDa, "20240229", true}, Case{Vr::kDa, "20230229", false},
                    Case{Vr::kDa, "19000229", false}, Case{Vr::kDa, "20241301", false},
                    Case{Vr::kDa, "20240100", false}, Case{Vr::kDa, "2024-01-01", false},
                    Case{Vr::kDa, "2024010", false}, Case{Vr::kDa, "00000101", false},
                    Case{Vr::kTm, "23", true}, Case{Vr::kTm, "2359", true},
                    Case{Vr::kTm, "235960", true}, Case{Vr::kTm, "235961", false},
                    Case{Vr::kTm, "24", false}, Case{Vr::kTm, "120000.123456", true},
                    Case{Vr::kTm, "120000.1234567", false}, Case{Vr::kTm, "120000.", false},
                    Case{Vr::kTm, "1200.5", false}, Case{Vr::kTm, "12:00", false},
                    Case{Vr::kTm, "123", false}));

INSTANTIATE_TEST_SUITE_P(
    CodesAndUids, CheckValueTest,
    testing::Values(Case{Vr::kUi, "1.2.840.10008.1.1", true}, Case{Vr::kUi, "2.25.0", true},
                    Case{Vr::kUi, "1.02", false}, Case{Vr::kUi, "3.1", false},
                    Case{Vr::kUi, "1.40", false}, Case{Vr::kUi, "1..2", false},
                    Case{Vr::kUi, "1.2.", false}, Case{Vr::kUi, "1", false},
                    Case{Vr::kUi, "1.2.a", false}, Case{Vr::kUi, "2." + std::string(62, '1'), true},
                    Case{Vr::kUi, "2." + std::string(63, '1'), false}, Case{Vr::kCs, "A_B 1", true},
                    Case{Vr::kCs, "a", false}, Case{Vr::kCs, std::string(17, 'A'), false},
                    Case{Vr::kAe, "PACS 1", true}, Case{Vr::kAe, " ", false},
                    Case{Vr::kAe, "", false}, Case{Vr::kAe, "a\\b", false},
                    Case{Vr::kAe, "SEVENTEEN_LETTERS", false}, Case{Vr::kAe, "ä", false}));

TEST(FormatDecimalStringTest, FitsSixteenCharactersAndStaysClose) {
  EXPECT_EQ(FormatDecimalString(0.703125), "0.703125");
  EXPECT_EQ(FormatDecimalString(-0.0), "0");
  EXPECT_EQ(FormatDecimalString(-13.7), "-13.7");
  for (const double value : {1.0 / 3, -1.0 / 3, 1e300 / 7, -1e-300 / 7, -123456.78901234567,
                             0.7071067811865476, -0.00012345678901234567, 2.5e-5 / 3}) {
    const std::string text = FormatDecimalString(value);
    EXPECT_LE(text.size(), 16u) << text;
    EXPECT_LE(std::abs(std::strtod(text.c_str(), nullptr) - value), std::abs(value) * 1e-8) << text;
  }
}

TEST(TruncateTest, CutsBetweenCharacters) {
  EXPECT_EQ(Truncate("äöü", 2), "äö");
  EXPECT_EQ(Truncate("ab", 5), "ab");
  EXPECT_EQ(CountCharacters("äöü"), 3u);
}

}  // namespace
}  // namespace synthvol::imaging::dicom
