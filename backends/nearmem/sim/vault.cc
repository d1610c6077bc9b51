#include "backends/nearmem/sim/vault.h"

#include <algorithm>
#include <memory>

namespace tally::nearmem {
namespace {

class TimeLine {
 public:
  TimeLine(const AcceleratorConfig& config, const VaultProgram& program, VaultMemory* memory,
           std::vector<VaultSpan>* spans)
      : divider_(config.lanes.clock_divider), program_(program), memory_(memory), spans_(spans) {}

  absl::StatusOr<VaultResult> Run() {
    PlanReads();
    for (const VaultStep& step : program_.steps) {
      if (absl::Status status = Await(step); !status.ok()) return status;
      Spend(step.count, "count", &parts_.compute);
      Spend(step.spill, "spill", &parts_.spill);
      Spend(step.drain, "drain", &parts_.post_processing);
      if (step.post > 0) HandOver(step);
    }
    if (post_free_ > now_) Wait(post_free_, "post-processing", &parts_.post_processing);
    const absl::StatusOr<Cycle> end = memory_->Finish();
    if (!end.ok()) return end.status();
    WaitForDram(*end);
    VaultResult result;
    result.cycles = parts_;
    result.dram = memory_->CountsAt(now_);
    return result;
  }

 private:
  // Reads in the order in which they are needed; the share of the next unit follows the first load of this one.
  void PlanReads() {
    load_segments_.assign(program_.loads.size(), -1);
    share_segments_.assign(program_.units.size(), -1);
    const auto share = [&](size_t u) {
      if (u < program_.units.size() && share_segments_[u] < 0) {
        share_segments_[u] = memory_->AddReads(Region::kActivations, next_share_, program_.units[u].share_bursts);
        next_share_ += program_.units[u].share_bursts;
      }
    };
    for (const VaultStep& step : program_.steps) {
      share(static_cast<size_t>(step.unit));
      int& segment = load_segments_[static_cast<size_t>(step.load)];
      if (segment < 0) {
        const VaultLoad& load = program_.loads[static_cast<size_t>(step.load)];
        segment = memory_->AddReads(Region::kWeights, load.first_burst, load.bursts);
      }
      share(static_cast<size_t>(step.unit) + 1);
    }
  }

  absl::Status Await(const VaultStep& step) {
    if (step.unit != unit_) {
      // The other half of the buffer is free: the unit before is done.
      const size_t u = static_cast<size_t>(step.unit);
      memory_->Grant(share_segments_[std::min(u + 1, program_.units.size() - 1)], now_);
      buffer_free_ = unit_begin_;
      unit_begin_ = now_;
    }
    if (step.load != load_) {
      const size_t ahead = program_.weights_stay
                               ? program_.loads.size() - 1
                               : std::min(static_cast<size_t>(step.load) + 1, program_.loads.size() - 1);
      memory_->Grant(load_segments_[ahead], now_);
    }
    Cycle dram = now_, ready = now_;
    if (step.unit != unit_) {
      const absl::StatusOr<Cycle> arrival = memory_->Arrival(share_segments_[static_cast<size_t>(step.unit)]);
      if (!arrival.ok()) return arrival.status();
      dram = std::max(dram, *arrival);
      const Cycle begin = std::max({*arrival, noc_free_, buffer_free_});
      noc_free_ = begin + program_.units[static_cast<size_t>(step.unit)].noc_cycles * divider_;
      ready = std::max(ready, noc_free_);
      unit_ = step.unit;
    }
    if (step.load != load_) {
      const absl::StatusOr<Cycle> arrival = memory_->Arrival(load_segments_[static_cast<size_t>(step.load)]);
      if (!arrival.ok()) return arrival.status();
      dram = std::max(dram, *arrival);
      load_ = step.load;
    }
    WaitForDram(dram);
    if (ready > now_) Wait(ready, "network", &parts_.noc);
    return absl::OkStatus();
  }

  void WaitForDram(Cycle until) {
    if (until <= now_) return;
    const Cycle refresh = memory_->Refreshing(now_, until);
    parts_.refresh += refresh;
    parts_.dram_stall -= refresh;
    Wait(until, "DRAM", &parts_.dram_stall);
  }

  // One set of results waits for the post-processing unit at a time.
  void HandOver(const VaultStep& step) {
    if (post_free_ > now_) Wait(post_free_, "post-processing", &parts_.post_processing);
    post_free_ = now_ + step.post * divider_;
    Note(VaultSpan::Track::kPost, "post-processing", now_, post_free_);
    if (step.write_bursts > 0) memory_->Write(next_write_, step.write_bursts, post_free_);
    next_write_ += step.write_bursts;
  }

  void Spend(int64_t lane_cycles, const char* what, Cycle* part) {
    if (lane_cycles == 0) return;
    Note(VaultSpan::Track::kLanes, what, now_, now_ + lane_cycles * divider_);
    *part += lane_cycles * divider_;
    now_ += lane_cycles * divider_;
  }

  void Wait(Cycle until, const char* what, Cycle* part) {
    Note(VaultSpan::Track::kWaiting, what, now_, until);
    *part += until - now_;
    now_ = until;
  }

  void Note(VaultSpan::Track track, const char* what, Cycle begin, Cycle end) {
    if (spans_ != nullptr) spans_->push_back({track, what, begin, end});
  }

  const Cycle divider_;
  const VaultProgram& program_;
  VaultMemory* const memory_;
  std::vector<VaultSpan>* const spans_;
  std::vector<int> load_segments_, share_segments_;
  int64_t next_share_ = 0, next_write_ = 0;
  int unit_ = -1, load_ = -1;
  Cycle now_ = 0, noc_free_ = 0, post_free_ = 0;
  Cycle unit_begin_ = 0, buffer_free_ = 0;
  CycleParts parts_;
};

}  // namespace

absl::StatusOr<VaultResult> RunVault(const AcceleratorConfig& config, const DramConfig& dram, DramMode mode,
                                     const VaultProgram& program, std::vector<VaultSpan>* spans) {
  absl::StatusOr<std::unique_ptr<VaultMemory>> memory = MakeVaultMemory(dram, config.fifo_bytes, mode);
  if (!memory.ok()) return memory.status();
  return TimeLine(config, program, memory->get(), spans).Run();
}

}  // namespace tally::nearmem
