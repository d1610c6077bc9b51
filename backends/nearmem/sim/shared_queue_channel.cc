#include "backends/nearmem/sim/shared_queue_channel.h"

#include <algorithm>

namespace tally::nearmem {

SharedQueueChannel::SharedQueueChannel(const DramConfig& config)
    : controller_(config.controller),
      refresh_(config),
      device_(config),
      posted_(config.geometry),
      opening_in_bank_(config.geometry.banks(), 0),
      closing_(config.geometry.banks(), false) {}

bool SharedQueueChannel::CanAccept(const DramRequest& request) const {
  if (!request.is_write) return reads_.size() < static_cast<size_t>(controller_.read_queue);
  // Writes overtake reads: one that a waiting read must not see yet stays outside.
  const auto read_of_it = [&](const DramRequest& r) { return !r.is_write && r.address == request.address; };
  return writes_.size() < static_cast<size_t>(controller_.write_queue) &&
         std::none_of(reads_.begin(), reads_.end(), read_of_it) &&
         std::none_of(opening_.begin(), opening_.end(), read_of_it);
}

void SharedQueueChannel::Accept(const DramRequest& request, Cycle now) {
  const bool posted = posted_.Holds(request.address);
  if (request.is_write) {
    Complete(request, now + 1);
    if (posted) {
      ++device_.counts().coalesced_writes;
      return;
    }
    posted_.Add(request.address);
    writes_.push_back(request);
  } else if (posted) {
    Complete(request, now + 1);
    ++device_.counts().forwarded_reads;
  } else {
    reads_.push_back(request);
  }
}

Cycle SharedQueueChannel::Tick(Cycle now) {
  wake_ = kNever;
  CollectMaintenance(now);
  bool progress = IssueColumn(now);
  DropStaleMaintenance();
  if (!progress || controller_.dual_command_bus) progress |= IssueRow(now);
  return progress ? now + 1 : std::min(wake_, refresh_.next());
}

bool SharedQueueChannel::Ready(Cycle at, Cycle now) {
  if (at <= now) return true;
  wake_ = std::min(wake_, at);
  return false;
}

void SharedQueueChannel::CollectMaintenance(Cycle now) {
  refresh_.Tick(now);
  for (; refresh_.due(); refresh_.Done()) {
    if (refresh_.bank() != RefreshTimer::kAllBanks) {
      maintenance_.push_back({Maintenance::Kind::kRefreshBank, refresh_.bank(), refresh_.channel() > 0});
      continue;
    }
    for (int channel = 0; channel < refresh_.channels(); ++channel) {
      maintenance_.push_back({Maintenance::Kind::kRefreshAll, 0, channel > 0});
    }
  }
  if (controller_.page_policy != PagePolicy::kClosedCap) return;
  for (int bank = 0; bank < device_.banks(); ++bank) {
    if (closing_[bank] || device_.accesses(bank) < controller_.column_cap) continue;
    if (!Ready(device_.ReadyAt(DramCommand::kPrecharge, bank), now)) continue;
    maintenance_.push_back({Maintenance::Kind::kPrecharge, bank, false});
    closing_[bank] = true;
  }
}

void SharedQueueChannel::DropStaleMaintenance() {
  const auto stale = [&](const Maintenance& m) { return m.kind == Maintenance::Kind::kPrecharge && !closing_[m.bank]; };
  while (!maintenance_.empty() && stale(maintenance_.front())) maintenance_.pop_front();
}

bool SharedQueueChannel::StepMaintenance(Cycle now) {
  const Maintenance m = maintenance_.front();
  if (m.foreign) {
    if (!Ready(device_.RowBusReadyAt(), now)) return false;
    device_.OccupyRowBus(now);
  } else if (m.kind == Maintenance::Kind::kRefreshAll && device_.any_open()) {
    if (!opening_.empty() || !Ready(device_.ReadyAt(DramCommand::kPrechargeAll, DramDevice::kAllBanks), now))
      return false;
    device_.PrechargeAll(now);
    std::fill(closing_.begin(), closing_.end(), false);
    return true;
  } else if (m.kind == Maintenance::Kind::kRefreshAll) {
    if (!Ready(device_.ReadyAt(DramCommand::kRefreshAll, DramDevice::kAllBanks), now)) return false;
    device_.RefreshAll(now);
  } else if (m.kind == Maintenance::Kind::kRefreshBank && device_.open_row(m.bank) == DramDevice::kClosed) {
    if (!Ready(device_.ReadyAt(DramCommand::kRefreshBank, m.bank), now)) return false;
    device_.RefreshBank(m.bank, now);
  } else {
    if (opening_in_bank_[m.bank] > 0 || !Ready(device_.ReadyAt(DramCommand::kPrecharge, m.bank), now)) return false;
    device_.Precharge(m.bank, now, /*for_conflict=*/false);
    closing_[m.bank] = false;
    if (m.kind == Maintenance::Kind::kRefreshBank) return true;
  }
  maintenance_.pop_front();
  return true;
}

std::vector<DramRequest>& SharedQueueChannel::RequestsInTurn() {
  const int waiting = static_cast<int>(writes_.size());
  if (!writing_) {
    writing_ =
        waiting >= controller_.drain_high || (reads_.empty() && waiting >= (flushing_ ? 1 : controller_.drain_idle));
  } else if (waiting < controller_.drain_low && !reads_.empty()) {
    writing_ = false;
  }
  return writing_ ? writes_ : reads_;
}

bool SharedQueueChannel::IssueColumn(Cycle now) {
  return IssueColumnFrom(&opening_, now) || (maintenance_.empty() && IssueColumnFrom(&RequestsInTurn(), now));
}

bool SharedQueueChannel::IssueColumnFrom(std::vector<DramRequest>* queue, Cycle now) {
  for (auto it = queue->begin(); it != queue->end(); ++it) {
    const int bank = device_.BankOf(it->address);
    if (device_.open_row(bank) != it->address.row) continue;
    DramCommand command = it->is_write ? DramCommand::kWrite : DramCommand::kRead;
    if (!Ready(device_.ReadyAt(command, bank), now)) continue;
    const bool opened_for_it = queue == &opening_;
    const bool closes =
        controller_.page_policy == PagePolicy::kClosed ||
        (controller_.page_policy == PagePolicy::kClosedCap && device_.accesses(bank) >= controller_.column_cap);
    if (closes && opening_in_bank_[bank] == (opened_for_it ? 1 : 0)) {
      command = it->is_write ? DramCommand::kWriteAuto : DramCommand::kReadAuto;
      closing_[bank] = false;
    }
    device_.Column(command, bank, it->id, now);
    if (opened_for_it) --opening_in_bank_[bank];
    if (it->is_write) {
      posted_.Remove(it->address);
    } else {
      Complete(*it, device_.ReadDone(now));
    }
    queue->erase(it);
    return true;
  }
  return false;
}

bool SharedQueueChannel::IssueRow(Cycle now) {
  if (!maintenance_.empty()) return StepMaintenance(now);
  std::vector<DramRequest>& queue = RequestsInTurn();
  for (auto it = queue.begin(); it != queue.end(); ++it) {
    const int bank = device_.BankOf(it->address);
    if (device_.open_row(bank) == it->address.row) continue;
    if (device_.open_row(bank) != DramDevice::kClosed) {
      if (opening_in_bank_[bank] > 0 || !Ready(device_.ReadyAt(DramCommand::kPrecharge, bank), now)) continue;
      device_.Precharge(bank, now, /*for_conflict=*/true);
      closing_[bank] = false;
      return true;
    }
    if (!Ready(device_.ReadyAt(DramCommand::kActivate, bank), now)) continue;
    device_.Activate(bank, it->address.row, now);
    ++opening_in_bank_[bank];
    opening_.push_back(*it);
    queue.erase(it);
    return true;
  }
  return false;
}

}  // namespace tally::nearmem
