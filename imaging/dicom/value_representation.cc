#include "imaging/dicom/value_representation.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/civil_time.h"

namespace synthvol::imaging::dicom {
namespace {

constexpr size_t kDecimalStringLength = 16;

absl::Status Refuse(std::string_view field, std::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(absl::string_view(field.data(), field.size()), ": ",
                   absl::string_view(expected.data(), expected.size())));
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool AllDigits(std::string_view text) { return std::all_of(text.begin(), text.end(), IsDigit); }

int Number(std::string_view digits) {
  int number = 0;
  for (const char c : digits) number = number * 10 + (c - '0');
  return number;
}

// Returns the length of the UTF-8 sequence at the front (RFC 3629: no overlong forms, no
// surrogates, nothing above U+10FFFF), 0 for a malformed one.
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if (lead == 0xE0 && byte(1) < 0xA0) return 0;
  if (lead == 0xED && byte(1) > 0x9F) return 0;
  if (lead == 0xF0 && byte(1) < 0x90) return 0;
  if (lead == 0xF4 && byte(1) > 0x8F) return 0;
  return length;
}

// C0 controls and DEL, and the C1 controls (U+0080..U+009F), which displays treat alike.
bool HasControls(std::string_view utf8) {
  for (size_t i = 0; i < utf8.size(); ++i) {
    const auto byte = static_cast<uint8_t>(utf8[i]);
    if (byte < 0x20 || byte == 0x7F) return true;
    if (byte == 0xC2 && i + 1 < utf8.size() && static_cast<uint8_t>(utf8[i + 1]) < 0xA0)
      return true;
  }
  return false;
}

absl::Status CheckDate(std::string_view field, std::string_view value) {
  constexpr char kExpected[] = "expected a date as YYYYMMDD (DA) that exists in the calendar";
  if (value.size() != 8 || !AllDigits(value)) return Refuse(field, kExpected);
  const int year = Number(value.substr(0, 4));
  const int month = Number(value.substr(4, 2));
  const int day = Number(value.substr(6, 2));
  // CivilDay normalises: 20250230 becomes another day.
  const absl::CivilDay date(year, month, day);
  if (year < 1 || date.month() != month || date.day() != day) return Refuse(field, kExpected);
  return absl::OkStatus();
}

absl::Status CheckTime(std::string_view field, std::string_view value) {
  constexpr char kExpected[] =
      "expected a time as HH, HHMM, HHMMSS or HHMMSS.F with 1 to 6 digits of fraction (TM)";
  const std::string_view whole = value.substr(0, value.find('.'));
  if (whole.size() % 2 != 0 || whole.empty() || whole.size() > 6 || !AllDigits(whole)) {
    return Refuse(field, kExpected);
  }
  if (whole.size() != value.size()) {
    const std::string_view fraction = value.substr(whole.size() + 1);
    if (whole.size() != 6 || fraction.empty() || fraction.size() > 6 || !AllDigits(fraction)) {
      return Refuse(field, kExpected);
    }
  }
  // A leap second is allowed: 60.
  constexpr std::array<int, 3> kLimits = {23, 59, 60};
  for (size_t i = 0; i < whole.size() / 2; ++i) {
    if (Number(whole.substr(2 * i, 2)) > kLimits[i]) return Refuse(field, kExpected);
  }
  return absl::OkStatus();
}

// PS3.5 section 9.1.
absl::Status CheckUid(std::string_view field, std::string_view value) {
  constexpr char kExpected[] =
      "expected a UID (UI): at most 64 characters, numbers without leading zeros joined by dots";
  if (value.size() > 64) return Refuse(field, kExpected);
  const std::vector<std::string> parts =
      absl::StrSplit(absl::string_view(value.data(), value.size()), '.');
  if (parts.size() < 2) return Refuse(field, kExpected);
  for (const std::string& part : parts) {
    if (part.empty() || !AllDigits(part) || (part.size() > 1 && part[0] == '0')) {
      return Refuse(field, kExpected);
    }
  }
  // ISO/IEC 9834-1: three roots; below 0 and 1 only 40 arcs.
  if (parts[0].size() > 1 || parts[0][0] > '2' ||
      (parts[0][0] < '2' && (parts[1].size() > 2 || Number(parts[1]) > 39))) {
    return Refuse(field, "expected a UID (UI) below root 0.0-0.39, 1.0-1.39 or 2");
  }
  return absl::OkStatus();
}

// PS3.5 section 6.2.1: up to three component groups of up to five components.
absl::Status CheckPersonName(std::string_view field, std::string_view value) {
  constexpr char kExpected[] =
      "expected a person name (PN): up to 3 groups joined by '=', each of at most 64 characters "
      "and "
      "5 components joined by '^'";
  if (absl::Status status = CheckText(field, value, 3 * 64 + 2); !status.ok()) return status;
  const std::vector<std::string> groups =
      absl::StrSplit(absl::string_view(value.data(), value.size()), '=');
  if (groups.size() > 3) return Refuse(field, kExpected);
  for (const std::string& group : groups) {
    if (CountCharacters(group) > 64 || std::count(group.begin(), group.end(), '^') > 4) {
      return Refuse(field, kExpected);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckCodeString(std::string_view field, std::string_view value) {
  const bool fits = std::all_of(value.begin(), value.end(), [](char c) {
    return IsDigit(c) || (c >= 'A' && c <= 'Z') || c == ' ' || c == '_';
  });
  if (!fits || value.size() > 16) {
    return Refuse(field,
                  "expected a code string (CS): at most 16 of A-Z, 0-9, space and underscore");
  }
  return absl::OkStatus();
}

absl::Status CheckAeTitle(std::string_view field, std::string_view value) {
  const bool fits = std::all_of(value.begin(), value.end(),
                                [](char c) { return c >= 0x20 && c < 0x7F && c != '\\'; });
  const bool blank = value.find_first_not_of(' ') == std::string_view::npos;
  if (!fits || blank || value.size() > 16) {
    return Refuse(field,
                  "expected an AE title (AE): 1 to 16 printable ASCII characters, no backslash");
  }
  return absl::OkStatus();
}

}  // namespace

size_t CountCharacters(std::string_view utf8) {
  size_t count = 0;
  while (!utf8.empty()) {
    const size_t length = SequenceLength(utf8);
    if (length == 0) return std::string_view::npos;
    utf8.remove_prefix(length);
    ++count;
  }
  return count;
}

std::string Truncate(std::string_view utf8, size_t max_characters) {
  size_t end = 0;
  for (size_t count = 0; count < max_characters && end < utf8.size(); ++count) {
    const size_t length = SequenceLength(utf8.substr(end));
    if (length == 0) break;
    end += length;
  }
  return std::string(utf8.substr(0, end));
}

absl::Status CheckText(std::string_view field, std::string_view value, size_t max_characters) {
  const size_t count = CountCharacters(value);
  if (count == std::string_view::npos) return Refuse(field, "expected UTF-8 text");
  if (HasControls(value)) return Refuse(field, "control characters are not allowed");
  if (!value.empty() && value.find_first_not_of(' ') == std::string_view::npos) {
    return Refuse(field, "expected more than spaces");
  }
  if (value.find('\\') != std::string_view::npos) {
    return Refuse(field, "a backslash is not allowed: it separates values");
  }
  if (count > max_characters) {
    return Refuse(field,
                  absl::StrCat("expected at most ", max_characters, " characters, got ", count));
  }
  return absl::OkStatus();
}

absl::Status CheckValue(std::string_view field, Vr vr, std::string_view value) {
  switch (vr) {
    case Vr::kAe:
      return CheckAeTitle(field, value);
    case Vr::kCs:
      return CheckCodeString(field, value);
    case Vr::kDa:
      return CheckDate(field, value);
    case Vr::kLo:
      return CheckText(field, value, 64);
    case Vr::kPn:
      return CheckPersonName(field, value);
    case Vr::kSh:
      return CheckText(field, value, 16);
    case Vr::kTm:
      return CheckTime(field, value);
    case Vr::kUi:
      return CheckUid(field, value);
  }
  return absl::InternalError("unknown value representation");
}

std::string FormatDecimalString(double value) {
  if (value == 0) return "0";  // no "-0"
  std::array<char, 64> text;
  const auto shortest = std::to_chars(text.data(), text.data() + text.size(), value);
  size_t length = static_cast<size_t>(shortest.ptr - text.data());
  for (int precision = 16; length > kDecimalStringLength && precision > 0; --precision) {
    const auto rounded = std::to_chars(text.data(), text.data() + text.size(), value,
                                       std::chars_format::general, precision);
    length = static_cast<size_t>(rounded.ptr - text.data());
  }
  return std::string(text.data(), length);
}

}  // namespace synthvol::imaging::dicom
