#include "tools/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace tally::tools {
namespace {

constexpr int kBarWidth = 30;
constexpr std::chrono::milliseconds kRedraw(100);
// Between lines in a log.
constexpr std::chrono::seconds kLine(10);

}  // namespace

Progress::Progress() : terminal_(isatty(STDERR_FILENO) == 1), last_(Clock::now()) {}

void Progress::Update(const std::string& phase, double share) {
  const Clock::time_point now = Clock::now();
  if (!terminal_) {
    // Short work prints nothing.
    if (now - last_ < kLine) return;
  } else if (phase == phase_ && now - last_ < kRedraw) {
    return;
  }
  phase_ = phase;
  last_ = now;
  share = std::clamp(share, 0.0, 1.0);
  const int percent = static_cast<int>(share * 100);
  if (!terminal_) {
    std::fprintf(stderr, "%s: %d %%\n", phase.c_str(), percent);
    return;
  }
  const int filled = static_cast<int>(share * kBarWidth);
  std::fprintf(stderr, "\r\033[K[%s%s] %3d %% %s", std::string(static_cast<size_t>(filled), '#').c_str(),
               std::string(static_cast<size_t>(kBarWidth - filled), ' ').c_str(), percent, phase.c_str());
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::Clear() {
  if (drawn_) std::fprintf(stderr, "\r\033[K");
  drawn_ = false;
}

}  // namespace tally::tools
