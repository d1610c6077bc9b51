// QueueKind::kPerBank: transactions move one a cycle into a short queue per bank; the banks take turns.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_BANK_QUEUE_CHANNEL_H_
#define TALLY_BACKENDS_NEARMEM_SIM_BANK_QUEUE_CHANNEL_H_

#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "backends/nearmem/sim/dram_channel.h"
#include "backends/nearmem/sim/dram_device.h"
#include "backends/nearmem/sim/posted_writes.h"
#include "backends/nearmem/sim/refresh_timer.h"

namespace tally::nearmem {

class BankQueueChannel final : public DramChannel {
 public:
  explicit BankQueueChannel(const DramConfig& config);

  bool CanAccept(const DramRequest& request) const override;
  void Accept(const DramRequest& request, Cycle now) override;
  Cycle Tick(Cycle now) override;
  void Flush() override {
    flushing_ = true;
    settled_ = false;
  }
  bool idle() const override { return reads_.empty() && writes_.empty() && queued_ == 0; }
  DramCounts CountsAt(Cycle now) const override { return device_.CountsAt(now); }
  void Observe(DramObserver observer) override { device_.Observe(std::move(observer)); }

 private:
  struct Choice {
    DramCommand command;
    int bank;
    size_t entry;  // of the bank's queue
  };

  // Moves towards a due refresh: closes one bank or refreshes. False when timing forbids it, or none is due.
  bool StepRefresh(Cycle now);
  // The next bank's first ready command, in turn.
  std::optional<Choice> Choose(Cycle now);
  std::optional<Choice> ChooseInBank(int bank, Cycle now);
  void Precharge(int bank, Cycle now, bool for_conflict);
  DramCommand Required(const DramRequest& request, int bank) const;
  bool MayClose(int bank, size_t entry) const;
  void Issue(const Choice& choice, Cycle now);
  // Moves one transaction to its bank's queue.
  bool Schedule();
  std::deque<DramRequest>::iterator FirstMovable(std::deque<DramRequest>* queue);
  void Move(std::deque<DramRequest>* queue, const std::deque<DramRequest>::iterator& request);
  // Whether `at` has come; if not, it is a reason to wake up.
  bool Ready(Cycle at, Cycle now);

  const DramController controller_;
  RefreshTimer refresh_;
  DramDevice device_;
  PostedWrites posted_;
  std::deque<DramRequest> reads_, writes_;  // with kInOrder all are in reads_
  std::vector<std::vector<DramRequest>> bank_queues_;
  // No command of the bank is ready before. Timing only ever moves later, so this holds until the bank's queue or row
  // changes, and most banks need no look.
  std::vector<Cycle> bank_ready_;
  size_t queued_ = 0;    // in bank_queues_
  int last_bank_ = 0;    // whose turn it was
  size_t draining_ = 0;  // writes of this batch that are still to be moved
  bool flushing_ = false;
  bool settled_ = false;  // no transaction can be moved until the queues change
  Cycle wake_ = kNever;   // of this Tick: the earliest cycle at which something that was not ready is
};

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_BANK_QUEUE_CHANNEL_H_
