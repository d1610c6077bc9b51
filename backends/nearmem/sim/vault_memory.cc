#include "backends/nearmem/sim/vault_memory.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <vector>

#include "backends/nearmem/sim/dram_channel.h"
#include "backends/nearmem/sim/dram_closed_form.h"
#include "backends/nearmem/sim/rounding.h"

namespace tally::nearmem {
namespace {

// Regions begin this share of the rows apart.
constexpr int kRegions = 3;

struct Segment {
  Region region;
  int64_t first;
  int64_t end;  // reads up to and with this segment
  Cycle arrival = kNever;
};

struct PendingWrite {
  int64_t first, bursts;
  Cycle at;
};

struct PendingGrant {
  int64_t reads;
  Cycle at;
};

// Bank groups first, so that bursts follow each other at the short column distance, then the row, then banks.
DramAddress AddressOf(const DramGeometry& g, Region region, int64_t burst) {
  DramAddress a;
  a.bank_group = static_cast<int>(burst % g.bank_groups);
  burst /= g.bank_groups;
  a.column = static_cast<int>(burst % g.bursts_per_row);
  burst /= g.bursts_per_row;
  a.bank = static_cast<int>(burst % g.banks_per_group);
  burst /= g.banks_per_group;
  a.row = static_cast<int>((burst + static_cast<int64_t>(region) * (g.rows / kRegions)) % g.rows);
  return a;
}

class EventMemory final : public VaultMemory {
 public:
  EventMemory(const DramConfig& config, int fifo_bytes)
      : geometry_(config.geometry),
        rfc_(config.timing.rfc),
        fifo_(std::max(1, fifo_bytes / config.geometry.burst_bytes)),
        channel_(MakeDramChannel(config)) {
    channel_->Observe([this](const DramIssue& issue) {
      if (issue.command == DramCommand::kRefreshAll) refreshes_.push_back(issue.at);
    });
  }

  int AddReads(Region region, int64_t first, int64_t bursts) override {
    total_ += bursts;
    segments_.push_back({region, first, total_});
    return static_cast<int>(segments_.size()) - 1;
  }
  void Grant(int segment, Cycle at) override { grants_.push_back({segments_[static_cast<size_t>(segment)].end, at}); }
  void Write(int64_t first, int64_t bursts, Cycle at) override { writes_.push_back({first, bursts, at}); }

  absl::StatusOr<Cycle> Arrival(int segment) override {
    const Segment& s = segments_[static_cast<size_t>(segment)];
    while (s.arrival == kNever) {
      if (absl::Status status = Step(); !status.ok()) return status;
    }
    return s.arrival;
  }

  absl::StatusOr<Cycle> Finish() override {
    if (!segments_.empty()) Grant(static_cast<int>(segments_.size()) - 1, now_);
    bool flushed = false;
    while (arrived_ < total_ || !writes_.empty() || writing_ > 0 || !channel_->idle()) {
      if (arrived_ == total_ && writes_.empty() && !flushed) {
        channel_->Flush();
        channel_next_ = now_ + 1;
        flushed = true;
      }
      if (absl::Status status = Step(); !status.ok()) return status;
    }
    return std::max(last_arrival_, busy_until_);
  }

  Cycle Refreshing(Cycle begin, Cycle end) const override {
    Cycle covered = 0;
    auto it = std::lower_bound(refreshes_.begin(), refreshes_.end(), begin - rfc_);
    for (; it != refreshes_.end() && *it < end; ++it) {
      covered += std::max<Cycle>(0, std::min(end, *it + rfc_) - std::max(begin, *it));
    }
    return covered;
  }

  DramCounts CountsAt(Cycle now) const override { return channel_->CountsAt(now); }

 private:
  // Goes on to the next cycle at which anything can happen and does what it allows. The clock stays there: what is
  // granted or written before the cycle after that is still in time.
  absl::Status Step() {
    Cycle next = channel_next_;
    if (!window_.empty()) next = std::min(next, window_.front());
    if (!grants_.empty()) next = std::min(next, grants_.front().at);
    if (!writes_.empty()) next = std::min(next, writes_.front().at);
    if (next == kNever) return absl::InternalError("the vault's memory has stopped with requests waiting");
    now_ = std::max(next, now_ + 1);
    while (!grants_.empty() && grants_.front().at <= now_) {
      granted_ = std::max(granted_, grants_.front().reads);
      grants_.pop_front();
    }
    CollectArrivals();
    const bool offered = Offer();
    if (!channel_->idle()) busy_until_ = now_ + 1;
    channel_next_ = channel_->Tick(now_);
    if (offered) channel_next_ = now_ + 1;
    for (const DramCompletion& c : channel_->TakeCompletions()) {
      if (c.is_write) {
        --writing_;
      } else {
        window_[static_cast<size_t>(c.id - arrived_)] = c.done;
      }
    }
    return absl::OkStatus();
  }

  void CollectArrivals() {
    while (!window_.empty() && window_.front() <= now_) {
      last_arrival_ = std::max(last_arrival_, window_.front());
      window_.pop_front();
      ++arrived_;
      while (arriving_ < segments_.size() && segments_[arriving_].end <= arrived_) {
        segments_[arriving_++].arrival = last_arrival_;
      }
    }
    // Segments without reads.
    while (arriving_ < segments_.size() && segments_[arriving_].end <= arrived_) {
      segments_[arriving_++].arrival = last_arrival_;
    }
  }

  // Hands one request to the channel, a write that is due first. True when one was taken.
  bool Offer() {
    if (!writes_.empty() && writes_.front().at <= now_) {
      PendingWrite& write = writes_.front();
      const DramRequest request{AddressOf(geometry_, Region::kOutputs, write.first), true, 0};
      if (!channel_->CanAccept(request)) return false;
      channel_->Accept(request, now_);
      ++writing_;
      ++write.first;
      if (--write.bursts == 0) writes_.pop_front();
      return true;
    }
    // In flight and in the FIFO, for which buffers have no room yet.
    if (issued_ == total_ || issued_ - std::min(arrived_, granted_) >= fifo_) return false;
    while (segments_[reading_].end <= issued_) ++reading_;
    const Segment& s = segments_[reading_];
    const int64_t begin = reading_ == 0 ? 0 : segments_[reading_ - 1].end;
    const DramRequest request{AddressOf(geometry_, s.region, s.first + issued_ - begin), false, issued_};
    if (!channel_->CanAccept(request)) return false;
    channel_->Accept(request, now_);
    window_.push_back(kNever);
    ++issued_;
    return true;
  }

  const DramGeometry geometry_;
  const Cycle rfc_;
  const int64_t fifo_;  // bursts
  std::unique_ptr<DramChannel> channel_;
  std::vector<Segment> segments_;
  std::deque<PendingGrant> grants_;
  std::deque<PendingWrite> writes_;
  std::vector<Cycle> refreshes_;
  int64_t total_ = 0, issued_ = 0, arrived_ = 0, granted_ = 0;  // reads
  std::deque<Cycle> window_;           // of reads arrived_ .. issued_ - 1: when their data is there
  size_t reading_ = 0, arriving_ = 0;  // segments
  int64_t writing_ = 0;                // taken, not completed
  Cycle last_arrival_ = 0;
  Cycle busy_until_ = 0;    // the last command
  Cycle channel_next_ = 0;  // when the channel can go on by itself
  Cycle now_ = -1;
};

// One server: a burst takes the closed form's share, the first one the latency as well.
class ClosedFormMemory final : public VaultMemory {
 public:
  ClosedFormMemory(const DramConfig& config, int fifo_bytes, double cycles_per_burst)
      : config_(config), fifo_(std::max(1, fifo_bytes / config.geometry.burst_bytes)), per_burst_(cycles_per_burst) {
    latency_ = config.timing.rcd_read + config.timing.cl + config.timing.burst;
    // A FIFO that is shorter than the latency leaves the bus waiting.
    per_read_ = std::max(per_burst_, static_cast<double>(latency_) / static_cast<double>(fifo_));
  }

  int AddReads(Region region, int64_t first, int64_t bursts) override {
    total_ += bursts;
    segments_.push_back({region, first, total_});
    return static_cast<int>(segments_.size()) - 1;
  }
  void Grant(int segment, Cycle at) override { grants_.push_back({segments_[static_cast<size_t>(segment)].end, at}); }
  void Write(int64_t first, int64_t bursts, Cycle at) override {
    written_ += bursts;
    writes_.push_back({first, bursts, at});
  }

  absl::StatusOr<Cycle> Arrival(int segment) override {
    while (served_ <= segment) Serve();
    return segments_[static_cast<size_t>(segment)].arrival;
  }
  absl::StatusOr<Cycle> Finish() override {
    while (served_ < static_cast<int>(segments_.size())) Serve();
    ServeWrites(std::numeric_limits<double>::infinity());
    const Cycle reads = segments_.empty() ? 0 : segments_.back().arrival;
    return std::max(reads, static_cast<Cycle>(std::ceil(free_)));
  }
  Cycle Refreshing(Cycle begin, Cycle end) const override {
    const DramTiming& t = config_.timing;
    if (config_.controller.refresh != RefreshMode::kAllBank) return 0;
    return (end - begin) * (t.rfc + t.rp + t.rcd_read) / t.refi;
  }
  DramCounts CountsAt(Cycle now) const override {
    DramCounts c;
    c.reads = total_;
    c.writes = written_;
    const bool open = config_.controller.page_policy == PagePolicy::kOpen;
    const int64_t per_row = open ? config_.geometry.bursts_per_row : 1;
    c.activates = c.row_misses = CeilDiv(total_, per_row) + CeilDiv(written_, per_row);
    c.row_hits = total_ + written_ - c.activates;
    if (config_.controller.refresh == RefreshMode::kAllBank) c.refreshes = now / config_.timing.refi;
    c.active_cycles = std::min(now, static_cast<Cycle>(per_burst_ * static_cast<double>(total_ + written_)));
    return c;
  }

 private:
  // Those that come before the server takes what is due from `due` on.
  void ServeWrites(double due) {
    for (; !writes_.empty(); writes_.pop_front()) {
      const double at = static_cast<double>(writes_.front().at);
      if (at > std::max(free_, due)) return;
      free_ = std::max(free_, at) + per_burst_ * static_cast<double>(writes_.front().bursts);
    }
  }

  // The next segment: what the FIFO holds may come before the grant.
  void Serve() {
    Segment& s = segments_[static_cast<size_t>(served_)];
    const int64_t begin = served_ == 0 ? 0 : segments_[static_cast<size_t>(served_) - 1].end;
    Cycle granted = 0;
    for (const PendingGrant& g : grants_) {
      granted = g.at;
      if (g.reads >= s.end) break;
    }
    const double reads = static_cast<double>(s.end - begin);
    const double early = std::min(reads, static_cast<double>(fifo_));
    ServeWrites(static_cast<double>(granted) - per_read_ * early);
    const double finish =
        std::max(free_ + per_read_ * reads, static_cast<double>(granted) + per_read_ * (reads - early));
    free_ = finish;
    s.arrival = reads == 0 ? 0 : static_cast<Cycle>(std::ceil(finish)) + latency_;
    if (served_ > 0) s.arrival = std::max(s.arrival, segments_[static_cast<size_t>(served_) - 1].arrival);
    ++served_;
    while (!grants_.empty() && grants_.front().reads < s.end) grants_.pop_front();
  }

  const DramConfig config_;
  const int64_t fifo_;
  const double per_burst_;
  double per_read_;
  Cycle latency_;
  std::vector<Segment> segments_;
  std::deque<PendingGrant> grants_;
  std::deque<PendingWrite> writes_;
  int64_t total_ = 0, written_ = 0;
  int served_ = 0;
  double free_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VaultMemory>> MakeVaultMemory(const DramConfig& config, int fifo_bytes, DramMode mode) {
  if (mode == DramMode::kEvent) return std::unique_ptr<VaultMemory>(new EventMemory(config, fifo_bytes));
  constexpr int64_t kMany = 1 << 20;
  const absl::StatusOr<double> cycles = ClosedFormCycles(config, Regularity::kStream, kMany);
  if (!cycles.ok()) return cycles.status();
  return std::unique_ptr<VaultMemory>(new ClosedFormMemory(config, fifo_bytes, *cycles / kMany));
}

}  // namespace tally::nearmem
