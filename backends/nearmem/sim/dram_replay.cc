#include "backends/nearmem/sim/dram_replay.h"

#include <algorithm>
#include <memory>

#include "backends/nearmem/sim/dram_channel.h"

namespace tally::nearmem {

absl::StatusOr<DramReplay> ReplayTrace(const DramConfig& config, const std::vector<DramRequest>& trace,
                                       const DramObserver& observer) {
  if (absl::Status status = Validate(config); !status.ok()) return status;
  const std::unique_ptr<DramChannel> channel = MakeDramChannel(config);
  channel->Observe(observer);
  DramReplay replay;
  replay.requests = static_cast<int64_t>(trace.size());
  size_t accepted = 0, completed = 0;
  bool flushed = false;
  Cycle now = 0;
  while (completed < trace.size() || !channel->idle()) {
    if (accepted < trace.size() && channel->CanAccept(trace[accepted])) channel->Accept(trace[accepted++], now);
    Cycle next = channel->Tick(now);
    for (const DramCompletion& c : channel->TakeCompletions()) {
      ++completed;
      replay.cycles = std::max(replay.cycles, c.done);
    }
    if (accepted < trace.size() && channel->CanAccept(trace[accepted])) next = now + 1;
    if (completed == trace.size() && !flushed) {
      channel->Flush();
      flushed = true;
      next = now + 1;
    }
    if (next == kNever) {
      if (completed == trace.size() && channel->idle()) break;
      return absl::InternalError("the DRAM channel has stopped with requests waiting");
    }
    now = next;
  }
  replay.drained_cycles = std::max(replay.cycles, now);
  replay.counts = channel->CountsAt(replay.drained_cycles);
  return replay;
}

}  // namespace tally::nearmem
