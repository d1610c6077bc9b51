// QueueKind::kShared: one read and one write buffer, each scheduled as a whole (FR-FCFS).
#ifndef TALLY_BACKENDS_NEARMEM_SIM_SHARED_QUEUE_CHANNEL_H_
#define TALLY_BACKENDS_NEARMEM_SIM_SHARED_QUEUE_CHANNEL_H_

#include <deque>
#include <utility>
#include <vector>

#include "backends/nearmem/sim/dram_channel.h"
#include "backends/nearmem/sim/dram_device.h"
#include "backends/nearmem/sim/posted_writes.h"
#include "backends/nearmem/sim/refresh_timer.h"

namespace tally::nearmem {

class SharedQueueChannel final : public DramChannel {
 public:
  explicit SharedQueueChannel(const DramConfig& config);

  bool CanAccept(const DramRequest& request) const override;
  void Accept(const DramRequest& request, Cycle now) override;
  Cycle Tick(Cycle now) override;
  void Flush() override { flushing_ = true; }
  bool idle() const override { return reads_.empty() && writes_.empty() && opening_.empty(); }
  DramCounts CountsAt(Cycle now) const override { return device_.CountsAt(now); }
  void Observe(DramObserver observer) override { device_.Observe(std::move(observer)); }

 private:
  // A command that goes before all requests.
  struct Maintenance {
    enum class Kind { kRefreshAll, kRefreshBank, kPrecharge } kind;
    int bank;      // not of kRefreshAll
    bool foreign;  // to another pseudo-channel, whose rows are all closed
  };

  void CollectMaintenance(Cycle now);
  // Precharges of banks that were closed meanwhile.
  void DropStaleMaintenance();
  bool StepMaintenance(Cycle now);
  bool IssueColumn(Cycle now);
  bool IssueRow(Cycle now);
  // The first request of `queue`, oldest first, whose row is open and whose column command is ready; issued.
  bool IssueColumnFrom(std::vector<DramRequest>* queue, Cycle now);
  std::vector<DramRequest>& RequestsInTurn();
  bool Ready(Cycle at, Cycle now);

  const DramController controller_;
  RefreshTimer refresh_;
  DramDevice device_;
  PostedWrites posted_;
  std::vector<DramRequest> reads_, writes_;  // oldest first
  std::vector<DramRequest> opening_;         // their row was opened for them; no longer in reads_ or writes_
  std::vector<int> opening_in_bank_;
  std::deque<Maintenance> maintenance_;
  std::vector<bool> closing_;  // kClosedCap: a precharge of the bank is in maintenance_
  bool writing_ = false;
  bool flushing_ = false;
  Cycle wake_ = kNever;  // of this Tick: the earliest cycle at which something that was not ready is
};

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_SHARED_QUEUE_CHANNEL_H_
