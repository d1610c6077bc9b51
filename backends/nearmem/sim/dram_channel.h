// One DRAM channel with its controller, simulated command by command, from event to event.
// Not thread-safe; deterministic. The caller owns the clock:
//
//   for (Cycle now = 0; ...; now = next) {
//     if (has_request && channel->CanAccept(request)) channel->Accept(request, now);
//     next = channel->Tick(now);     // or now + 1 to offer another request
//     for (const DramCompletion& c : channel->TakeCompletions()) ...
//   }
#ifndef TALLY_BACKENDS_NEARMEM_SIM_DRAM_CHANNEL_H_
#define TALLY_BACKENDS_NEARMEM_SIM_DRAM_CHANNEL_H_

#include <memory>
#include <utility>
#include <vector>

#include "backends/nearmem/sim/dram_config.h"
#include "backends/nearmem/sim/dram_request.h"

namespace tally::nearmem {

class DramChannel {
 public:
  virtual ~DramChannel() = default;

  virtual bool CanAccept(const DramRequest& request) const = 0;
  // REQUIRES: CanAccept(request), and Tick(now) was not called yet.
  virtual void Accept(const DramRequest& request, Cycle now) = 0;
  // Does what the cycle `now` allows. Returns the next cycle, later than `now`, at which more can be done without new
  // requests; the caller may come back earlier, never later. REQUIRES: `now` grows from call to call.
  virtual Cycle Tick(Cycle now) = 0;
  // No more requests will come: posted writes need not wait for company.
  virtual void Flush() = 0;
  // Nothing waits, posted writes included.
  virtual bool idle() const = 0;
  virtual DramCounts CountsAt(Cycle now) const = 0;
  // Called with every command from now on.
  virtual void Observe(DramObserver observer) = 0;

  // Those reported since the last call, in the order in which they were found out.
  std::vector<DramCompletion> TakeCompletions() { return std::exchange(completions_, {}); }

 protected:
  void Complete(const DramRequest& request, Cycle done) {
    completions_.push_back({request.id, done, request.is_write});
  }

 private:
  std::vector<DramCompletion> completions_;
};

// REQUIRES: Validate(config) is OK.
std::unique_ptr<DramChannel> MakeDramChannel(const DramConfig& config);

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_DRAM_CHANNEL_H_
