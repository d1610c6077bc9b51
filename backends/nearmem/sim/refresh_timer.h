// When a refresh is due, and of which bank. Refreshes that wait queue up; none is dropped.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_REFRESH_TIMER_H_
#define TALLY_BACKENDS_NEARMEM_SIM_REFRESH_TIMER_H_

#include "backends/nearmem/sim/dram_config.h"

namespace tally::nearmem {

class RefreshTimer {
 public:
  static constexpr int kAllBanks = -1;

  explicit RefreshTimer(const DramConfig& config)
      : mode_(config.controller.refresh),
        banks_(config.geometry.banks()),
        channels_(config.geometry.pseudo_channels),
        interval_(mode_ == RefreshMode::kPerBank ? config.timing.refi_bank : config.timing.refi),
        next_(mode_ == RefreshMode::kNone ? kNever : interval_) {}

  // Notes what has become due up to `now`.
  void Tick(Cycle now) {
    for (; next_ <= now; next_ += interval_) ++due_;
  }
  Cycle next() const { return next_; }
  bool due() const { return due_ > 0; }
  // Of the refresh that is due. Per-bank refreshes visit all banks of one pseudo-channel, then those of the next; an
  // all-bank refresh goes to every pseudo-channel.
  int bank() const { return mode_ == RefreshMode::kPerBank ? cursor_ % banks_ : kAllBanks; }
  int channel() const { return cursor_ / banks_; }
  int channels() const { return channels_; }
  void Done() {
    --due_;
    cursor_ = (cursor_ + 1) % (banks_ * channels_);
  }

 private:
  const RefreshMode mode_;
  const int banks_;
  const int channels_;
  const Cycle interval_;
  Cycle next_;
  int64_t due_ = 0;
  int cursor_ = 0;
};

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_REFRESH_TIMER_H_
