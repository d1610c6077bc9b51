// The DRAM behind a controller: which row each bank has open, and from when on each command is allowed.
// Not thread-safe. Knows no queue and makes no choice.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_DRAM_DEVICE_H_
#define TALLY_BACKENDS_NEARMEM_SIM_DRAM_DEVICE_H_

#include <array>
#include <utility>
#include <vector>

#include "backends/nearmem/sim/dram_config.h"
#include "backends/nearmem/sim/dram_request.h"

namespace tally::nearmem {

class DramDevice {
 public:
  explicit DramDevice(const DramConfig& config);

  int banks() const { return static_cast<int>(banks_.size()); }
  int BankOf(const DramAddress& address) const { return address.bank_group * banks_per_group_ + address.bank; }

  static constexpr int kClosed = -1;
  int open_row(int bank) const { return banks_[bank].row; }
  // Column commands since the row was opened.
  int accesses(int bank) const { return banks_[bank].accesses; }
  bool any_open() const { return open_banks_ > 0; }

  // The first cycle at which timing allows the command; the state of the bank is the caller's to check. `bank` is
  // ignored by commands to all.
  static constexpr int kAllBanks = -1;
  Cycle ReadyAt(DramCommand command, int bank) const;

  // REQUIRES: now >= the command's ReadyAt, and the bank is in the state that the command needs.
  // `for_conflict`: a precharge because a request needs another row.
  void Activate(int bank, int row, Cycle now);
  void Precharge(int bank, Cycle now, bool for_conflict);
  void Column(DramCommand command, int bank, int64_t request, Cycle now);
  void PrechargeAll(Cycle now);
  // REQUIRES: every bank is closed.
  void RefreshAll(Cycle now);
  // REQUIRES: the bank is closed.
  void RefreshBank(int bank, Cycle now);
  Cycle RowBusReadyAt() const { return row_bus_; }
  // A row command to another pseudo-channel on the same command bus.
  void OccupyRowBus(Cycle now);

  // When the data of a read that was issued at `now` is complete.
  Cycle ReadDone(Cycle now) const { return now + timing_.cl + timing_.burst; }

  // Called with every command from now on.
  void Observe(DramObserver observer) { observer_ = std::move(observer); }

  DramCounts& counts() { return counts_; }
  // With the active time up to `now`.
  DramCounts CountsAt(Cycle now) const;

 private:
  struct Bank {
    int row = kClosed;
    int accesses = 0;
    bool closed_for_conflict = false;
    Cycle activate = 0, precharge = 0, read = 0, write = 0, refresh = 0;
  };
  // What a command anywhere in a bank group, or in the channel, forbids until when.
  struct Shared {
    Cycle activate = 0, read = 0, write = 0, refresh_bank = 0;
  };

  Cycle PrechargeAllReadyAt() const;
  Cycle RefreshAllReadyAt() const;
  void Close(int bank, Cycle now);
  void Report(Cycle now, DramCommand command, int bank, int64_t request = -1) const {
    if (observer_) observer_({now, command, bank, bank < 0 ? kClosed : banks_[bank].row, request});
  }

  const DramTiming timing_;
  const int banks_per_group_;
  const int act_delay_;  // cycles from the first to the last cycle of an activate
  std::vector<Bank> banks_;
  std::vector<Shared> groups_;
  Shared channel_;
  Cycle row_bus_ = 0;                    // free from
  std::array<Cycle, 4> last_activates_;  // a ring
  int oldest_activate_ = 0;
  int open_banks_ = 0;
  Cycle open_since_ = 0;
  DramCounts counts_;
  DramObserver observer_;
};

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_DRAM_DEVICE_H_
