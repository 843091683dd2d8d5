// Checks of values against their value representation (PS3.5 section 6.2, table 6.2-1), and
// formatting of numbers into them.
//
// Free functions, pure.
#ifndef SYNTHVOL_IMAGING_DICOM_VALUE_REPRESENTATION_H_
#define SYNTHVOL_IMAGING_DICOM_VALUE_REPRESENTATION_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace synthvol::imaging::dicom {

enum class Vr { kAe, kCs, kDa, kLo, kPn, kSh, kTm, kUi };

// Checks one non-empty value; text is UTF-8 (Specific Character Set ISO_IR 192). INVALID_ARGUMENT
// begins with `field` and says what is allowed, without repeating the value (it may be a person's).
absl::Status CheckValue(std::string_view field, Vr vr, std::string_view value);

// Checks that text is UTF-8 of at most `max_characters`, without control characters and backslash.
absl::Status CheckText(std::string_view field, std::string_view value, size_t max_characters);

// Returns the number of characters (code points) of UTF-8 text, or npos when it is not UTF-8.
size_t CountCharacters(std::string_view utf8);

// Returns the longest prefix of at most `max_characters`.
std::string Truncate(std::string_view utf8, size_t max_characters);

// Formats a finite number as a decimal string (DS): the shortest text that reads back as the same
// double, or, where that is longer than the 16 characters allowed, the closest one that fits.
std::string FormatDecimalString(double value);

}  // namespace synthvol::imaging::dicom

#endif  // SYNTHVOL_IMAGING_DICOM_VALUE_REPRESENTATION_H_
