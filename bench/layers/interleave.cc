#include "bench/layers/interleave.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "format/error.h"

namespace tally::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

// oneDNN's OpenMP workers and those of a thread pool spin for some milliseconds after their last task.
constexpr std::chrono::milliseconds kPause(12);
// A turn lasts so long, or so many runs: long enough to wake threads and fill caches, short against the machine's
// moods.
constexpr double kTurnSeconds = 0.01;
constexpr size_t kTurnRuns = 100;
// At the start of a turn, not timed.
constexpr size_t kWarmupRuns = 2;
constexpr size_t kMinTurns = 5;

}  // namespace

absl::StatusOr<std::vector<Times>> Interleave(const std::vector<Contestant>& contestants,
                                              const InterleaveOptions& options) {
  struct State {
    std::vector<double> times;
    double total = 0;
    size_t copy = 0;
  };
  std::vector<State> states(contestants.size());
  const auto run_once = [&](size_t i) -> absl::StatusOr<double> {
    State& state = states[i];
    const Clock::time_point start = Clock::now();
    TALLY_RETURN_IF_ERROR(contestants[i].run(state.copy));
    const double seconds = Seconds(Clock::now() - start).count();
    state.copy = (state.copy + 1) % contestants[i].copies;
    return seconds;
  };
  const auto is_done = [&](const State& s) { return s.total >= options.min_secs; };
  for (size_t turn = 0; turn < kMinTurns || !std::all_of(states.begin(), states.end(), is_done); ++turn) {
    for (size_t i = 0; i < contestants.size(); ++i) {
      if (options.pause) std::this_thread::sleep_for(kPause);
      for (size_t r = 0; r < kWarmupRuns; ++r) TALLY_RETURN_IF_ERROR(run_once(i).status());
      double seconds = 0;
      for (size_t r = 0; r < kTurnRuns && seconds < kTurnSeconds; ++r) {
        TALLY_ASSIGN_OR_RETURN(const double once, run_once(i));
        states[i].times.push_back(once * 1e6);
        seconds += once;
      }
      states[i].total += seconds;
    }
  }
  std::vector<Times> result;
  for (State& state : states) {
    std::vector<double>& t = state.times;
    std::sort(t.begin(), t.end());
    result.push_back({t[t.size() / 2], t.front(), t[t.size() * 9 / 10]});
  }
  return result;
}

}  // namespace tally::bench
