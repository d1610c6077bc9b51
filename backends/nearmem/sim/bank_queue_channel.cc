#include "backends/nearmem/sim/bank_queue_channel.h"

#include <algorithm>

namespace tally::nearmem {
namespace {

bool Contains(const std::deque<DramRequest>& queue, const DramAddress& address) {
  return std::any_of(queue.begin(), queue.end(), [&](const DramRequest& r) { return r.address == address; });
}

}  // namespace

BankQueueChannel::BankQueueChannel(const DramConfig& config)
    : controller_(config.controller),
      refresh_(config),
      device_(config),
      posted_(config.geometry),
      bank_queues_(config.geometry.banks()),
      bank_ready_(config.geometry.banks(), kNever) {}

bool BankQueueChannel::CanAccept(const DramRequest& request) const {
  if (request.is_write && controller_.writes == WriteMode::kDrain) {
    return writes_.size() < static_cast<size_t>(controller_.write_queue);
  }
  return reads_.size() < static_cast<size_t>(controller_.read_queue);
}

void BankQueueChannel::Accept(const DramRequest& request, Cycle now) {
  const bool posted = posted_.Holds(request.address);
  if (request.is_write) {
    Complete(request, now + 1);
    if (posted) {
      ++device_.counts().coalesced_writes;
      return;
    }
    posted_.Add(request.address);
  } else if (posted) {
    Complete(request, now + 1);
    ++device_.counts().forwarded_reads;
    return;
  }
  (request.is_write && controller_.writes == WriteMode::kDrain ? writes_ : reads_).push_back(request);
  settled_ = false;
}

Cycle BankQueueChannel::Tick(Cycle now) {
  wake_ = kNever;
  refresh_.Tick(now);
  bool progress = StepRefresh(now);
  if (!progress) {
    const std::optional<Choice> first = Choose(now);
    if (first) Issue(*first, now);
    progress = first.has_value();
    // The bank that comes next in turn may use the other bus.
    if (first && controller_.dual_command_bus) {
      const std::optional<Choice> second = Choose(now);
      if (second && IsColumn(second->command) != IsColumn(first->command)) Issue(*second, now);
    }
  }
  if (Schedule()) progress = true;
  return progress ? now + 1 : std::min(wake_, refresh_.next());
}

bool BankQueueChannel::Ready(Cycle at, Cycle now) {
  if (at <= now) return true;
  wake_ = std::min(wake_, at);
  return false;
}

bool BankQueueChannel::StepRefresh(Cycle now) {
  if (!refresh_.due()) return false;
  const int bank = refresh_.bank();
  if (bank != RefreshTimer::kAllBanks) {
    if (device_.open_row(bank) != DramDevice::kClosed) {
      if (!Ready(device_.ReadyAt(DramCommand::kPrecharge, bank), now)) return false;
      Precharge(bank, now, /*for_conflict=*/false);
      return true;
    }
    if (!Ready(device_.ReadyAt(DramCommand::kRefreshBank, bank), now)) return false;
    device_.RefreshBank(bank, now);
    refresh_.Done();
    return true;
  }
  for (int open = 0; open < device_.banks(); ++open) {
    if (device_.open_row(open) == DramDevice::kClosed) continue;
    if (!Ready(device_.ReadyAt(DramCommand::kPrecharge, open), now)) continue;
    Precharge(open, now, /*for_conflict=*/false);
    return true;
  }
  if (device_.any_open() || !Ready(device_.ReadyAt(DramCommand::kRefreshAll, DramDevice::kAllBanks), now)) return false;
  device_.RefreshAll(now);
  refresh_.Done();
  return true;
}

std::optional<BankQueueChannel::Choice> BankQueueChannel::Choose(Cycle now) {
  for (int i = 1; i <= device_.banks(); ++i) {
    const int bank = (last_bank_ + i) % device_.banks();
    if (refresh_.due() && (refresh_.bank() == bank || refresh_.bank() == RefreshTimer::kAllBanks)) continue;
    const std::optional<Choice> choice = ChooseInBank(bank, now);
    if (choice) {
      last_bank_ = bank;
      return choice;
    }
  }
  return std::nullopt;
}

void BankQueueChannel::Precharge(int bank, Cycle now, bool for_conflict) {
  device_.Precharge(bank, now, for_conflict);
  bank_ready_[bank] = 0;
}

std::optional<BankQueueChannel::Choice> BankQueueChannel::ChooseInBank(int bank, Cycle now) {
  if (!Ready(bank_ready_[bank], now)) return std::nullopt;
  Cycle ready = kNever;
  const std::vector<DramRequest>& queue = bank_queues_[bank];
  for (size_t i = 0; i < queue.size(); ++i) {
    const DramCommand command = Required(queue[i], bank);
    if (command == DramCommand::kPrecharge && !MayClose(bank, i)) continue;
    if (const Cycle at = device_.ReadyAt(command, bank); at > now) {
      ready = std::min(ready, at);
      continue;
    }
    if (IsColumn(command) && queue[i].is_write) {
      const auto read_of_it = [&](const DramRequest& r) { return !r.is_write && r.address == queue[i].address; };
      if (std::any_of(queue.begin(), queue.begin() + static_cast<std::ptrdiff_t>(i), read_of_it)) continue;
    }
    return Choice{command, bank, i};
  }
  bank_ready_[bank] = ready;
  Ready(ready, now);
  return std::nullopt;
}

DramCommand BankQueueChannel::Required(const DramRequest& request, int bank) const {
  if (device_.open_row(bank) == DramDevice::kClosed) return DramCommand::kActivate;
  if (device_.open_row(bank) != request.address.row) return DramCommand::kPrecharge;
  const bool closes = controller_.page_policy == PagePolicy::kClosed;
  if (request.is_write) return closes ? DramCommand::kWriteAuto : DramCommand::kWrite;
  return closes ? DramCommand::kReadAuto : DramCommand::kRead;
}

bool BankQueueChannel::MayClose(int bank, size_t entry) const {
  if (entry > 0) return false;
  if (device_.accesses(bank) >= controller_.row_hit_limit) return true;
  const std::vector<DramRequest>& queue = bank_queues_[bank];
  return std::none_of(queue.begin(), queue.end(),
                      [&](const DramRequest& r) { return r.address.row == device_.open_row(bank); });
}

void BankQueueChannel::Issue(const Choice& choice, Cycle now) {
  std::vector<DramRequest>& queue = bank_queues_[choice.bank];
  const DramRequest request = queue[choice.entry];
  bank_ready_[choice.bank] = 0;
  if (choice.command == DramCommand::kActivate) {
    device_.Activate(choice.bank, request.address.row, now);
  } else if (choice.command == DramCommand::kPrecharge) {
    Precharge(choice.bank, now, /*for_conflict=*/true);
  } else {
    device_.Column(choice.command, choice.bank, request.id, now);
    queue.erase(queue.begin() + static_cast<std::ptrdiff_t>(choice.entry));
    --queued_;
    settled_ = false;
    if (request.is_write) {
      posted_.Remove(request.address);
    } else {
      Complete(request, device_.ReadDone(now));
    }
  }
}

bool BankQueueChannel::Schedule() {
  if (settled_) return false;
  const size_t waiting = writes_.size();
  if (draining_ == 0 && (waiting >= static_cast<size_t>(controller_.drain_high) ||
                         (reads_.empty() && waiting >= static_cast<size_t>(flushing_ ? 1 : controller_.drain_idle)))) {
    draining_ = waiting;
  }
  bool moved = false;
  if (draining_ > 0) {
    const auto write = FirstMovable(&writes_);
    if (write != writes_.end() && Contains(reads_, write->address)) {
      draining_ = 0;  // reads that came before must not see what it writes
    } else if (write != writes_.end()) {
      Move(&writes_, write);
      --draining_;
      moved = true;
    }
  }
  if (draining_ == 0 && !moved) {
    const auto read = FirstMovable(&reads_);
    moved = read != reads_.end();
    if (moved) Move(&reads_, read);
  }
  settled_ = !moved;
  return moved;
}

std::deque<DramRequest>::iterator BankQueueChannel::FirstMovable(std::deque<DramRequest>* queue) {
  return std::find_if(queue->begin(), queue->end(), [&](const DramRequest& r) {
    return bank_queues_[device_.BankOf(r.address)].size() < static_cast<size_t>(controller_.bank_queue);
  });
}

void BankQueueChannel::Move(std::deque<DramRequest>* queue, const std::deque<DramRequest>::iterator& request) {
  const int bank = device_.BankOf(request->address);
  bank_queues_[bank].push_back(*request);
  bank_ready_[bank] = 0;
  ++queued_;
  queue->erase(request);
}

}  // namespace tally::nearmem
