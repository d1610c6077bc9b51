// Progress of long work on stderr: a bar that redraws itself on a terminal, a plain line now and then elsewhere.
// Used by one thread.
#ifndef TALLY_TOOLS_PROGRESS_H_
#define TALLY_TOOLS_PROGRESS_H_

#include <chrono>
#include <string>

namespace tally::tools {

class Progress {
 public:
  Progress();
  // Clears the bar, so that what is printed next starts on an empty line.
  ~Progress() { Clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `share` is 0..1 of `phase`.
  void Update(const std::string& phase, double share);
  void Clear();

 private:
  using Clock = std::chrono::steady_clock;
  const bool terminal_;
  bool drawn_ = false;
  std::string phase_;
  Clock::time_point last_;
};

}  // namespace tally::tools

#endif  // TALLY_TOOLS_PROGRESS_H_
