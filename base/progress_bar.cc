#include "base/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace synthvol {
namespace {

constexpr absl::Duration kTerminalInterval = absl::Milliseconds(100);
constexpr absl::Duration kPipeInterval = absl::Seconds(5);

int TerminalColumns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string Clock(absl::Duration duration) {
  const int64_t seconds = std::max<int64_t>(0, absl::ToInt64Seconds(duration));
  if (seconds >= 3600) {
    return absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
  }
  return absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
}

}  // namespace

ProgressBar::ProgressBar(std::string label, std::string unit, uint64_t total, uint64_t start)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      start_(start),
      terminal_(isatty(STDERR_FILENO) == 1),
      begun_(absl::Now()),
      done_(start),
      printed_(absl::InfinitePast()) {}

ProgressBar::~ProgressBar() { Finish(); }

void ProgressBar::Update(uint64_t done, const std::string& note) {
  const std::lock_guard<std::mutex> lock(mutex_);
  done_ = done;
  note_ = note;
  Print(false);
}

void ProgressBar::Advance(uint64_t count, const std::string& note) {
  const std::lock_guard<std::mutex> lock(mutex_);
  done_ += count;
  note_ = note;
  Print(false);
}

void ProgressBar::Finish() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (finished_) return;
  finished_ = true;
  Print(true);
}

void ProgressBar::Print(bool last) {
  const absl::Time now = absl::Now();
  if (!last && now - printed_ < (terminal_ ? kTerminalInterval : kPipeInterval)) return;
  printed_ = now;
  if (terminal_) {
    const std::string line = Render(now, TerminalColumns());
    std::fprintf(stderr, "\r%s\x1b[K%s", line.c_str(), last ? "\n" : "");
  } else {
    std::fprintf(stderr, "%s\n", Render(now, 200).c_str());
  }
  std::fflush(stderr);
}

std::string ProgressBar::Render(absl::Time now, int columns) const {
  const double seconds = std::max(1e-3, absl::ToDoubleSeconds(now - begun_));
  const double rate = static_cast<double>(done_ - std::min(done_, start_)) / seconds;
  const double share = total_ == 0 ? 1.0 : std::min(1.0, static_cast<double>(done_) / total_);
  std::string figures = absl::StrFormat("%3.0f%% %d/%d %s", share * 100, done_, total_, unit_);
  if (rate > 0) {
    absl::StrAppend(&figures, rate >= 1 ? absl::StrFormat(" %.1f/s", rate)
                                        : absl::StrFormat(" %.2f s each", 1 / rate));
    if (done_ < total_) {
      absl::StrAppend(&figures, " ETA ", Clock(absl::Seconds((total_ - done_) / rate)));
    } else {
      absl::StrAppend(&figures, " in ", Clock(now - begun_));
    }
  }
  std::string line = absl::StrCat(label_, " ");
  const int room = columns - static_cast<int>(label_.size() + figures.size() + note_.size()) - 7;
  const int width = std::min(30, room);
  if (terminal_ && width >= 5) {
    const int filled = static_cast<int>(share * width);
    absl::StrAppend(&line, "[", std::string(filled, '#'), std::string(width - filled, '.'), "] ");
  }
  absl::StrAppend(&line, figures);
  if (!note_.empty()) absl::StrAppend(&line, "  ", note_);
  if (static_cast<int>(line.size()) >= columns) line.resize(std::max(0, columns - 1));
  return line;
}

}  // namespace synthvol
