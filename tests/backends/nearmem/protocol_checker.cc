#include "tests/backends/nearmem/protocol_checker.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tally::nearmem::testing {
namespace {

class Checker {
 public:
  Checker(const DramConfig& config, const std::vector<DramRequest>& trace)
      : c_(config), t_(config.timing), trace_(trace), rows_(config.geometry.banks(), -1) {}

  std::string Check(const std::vector<DramIssue>& commands) {
    size_t oldest = 0;  // the first command that may still matter
    for (size_t i = 0; i < commands.size(); ++i) {
      const DramIssue& now = commands[i];
      if (i > 0 && now.at < commands[i - 1].at) return Text(now, "goes back in time");
      while (commands[oldest].at + Horizon() < now.at) ++oldest;
      std::string what = CheckBus(commands, i);
      if (what.empty()) what = CheckState(now);
      for (size_t j = oldest; what.empty() && j < i; ++j) what = CheckPair(commands[j], now);
      if (what.empty()) what = CheckWindow(now);
      if (!what.empty()) return Text(now, what);
    }
    return "";
  }

 private:
  static std::string Text(const DramIssue& issue, const std::string& what) {
    return absl::StrCat("cycle ", issue.at, ": ", CommandName(issue.command), " bank ", issue.bank, ": ", what);
  }

  Cycle Horizon() const {
    return std::max({t_.rfc, t_.rfc_bank, t_.rc(), t_.cwl + t_.burst + t_.wr + t_.rp, t_.rtp_auto + t_.rp}) + t_.cl +
           t_.cwl + t_.faw + 64;
  }

  // One command per cycle and bus; an activate holds the row bus for act_cycles.
  std::string CheckBus(const std::vector<DramIssue>& commands, size_t i) const {
    for (size_t j = i; j-- > 0;) {
      const bool same_bus =
          !c_.controller.dual_command_bus || IsColumn(commands[j].command) == IsColumn(commands[i].command);
      if (!same_bus) continue;
      const int holds = commands[j].command == DramCommand::kActivate ? t_.act_cycles : 1;
      return commands[i].at < commands[j].at + holds ? "finds the command bus taken" : "";
    }
    return "";
  }

  std::string CheckState(const DramIssue& now) {
    const auto closed = [](int row) { return row == -1; };
    switch (now.command) {
      case DramCommand::kActivate:
        if (!closed(rows_[now.bank])) return "finds a row open";
        rows_[now.bank] = now.row;
        return "";
      case DramCommand::kPrecharge: rows_[now.bank] = -1; return "";
      case DramCommand::kPrechargeAll: std::fill(rows_.begin(), rows_.end(), -1); return "";
      case DramCommand::kRefreshAll: return std::all_of(rows_.begin(), rows_.end(), closed) ? "" : "finds a row open";
      case DramCommand::kRefreshBank: return closed(rows_[now.bank]) ? "" : "finds a row open";
      default: break;
    }
    const DramRequest& request = trace_[static_cast<size_t>(now.request)];
    const int bank = request.address.bank_group * c_.geometry.banks_per_group + request.address.bank;
    if (now.bank != bank || rows_[bank] != request.address.row) return "finds another row than its request's";
    if (IsWrite(now.command) != request.is_write) return "is not what its request asks for";
    if (now.command == DramCommand::kReadAuto || now.command == DramCommand::kWriteAuto) rows_[bank] = -1;
    return "";
  }

  std::string CheckWindow(const DramIssue& now) {
    if (now.command != DramCommand::kActivate) return "";
    activates_.push_back(now.at);
    const size_t n = activates_.size();
    return n > 4 && activates_[n - 5] + t_.faw > now.at ? "breaks faw" : "";
  }

  std::string CheckPair(const DramIssue& before, const DramIssue& now) const {
    const auto touches = [](const DramIssue& issue, int bank) { return issue.bank == -1 || issue.bank == bank; };
    const bool same_bank = before.bank == -1 || now.bank == -1 || touches(before, now.bank);
    const bool same_group =
        same_bank || before.bank / c_.geometry.banks_per_group == now.bank / c_.geometry.banks_per_group;
    // JEDEC counts from the last cycle of a command that has several.
    const auto last = [&](const DramIssue& i) {
      return i.at + (i.command == DramCommand::kActivate ? t_.act_cycles - 1 : 0);
    };
    const Cycle gap = last(now) - last(before);
    const bool reads = IsColumn(before.command) && !IsWrite(before.command);
    const bool writes = IsColumn(before.command) && IsWrite(before.command);
    const bool closes = now.command == DramCommand::kPrecharge || now.command == DramCommand::kPrechargeAll;
    const bool refreshes = now.command == DramCommand::kRefreshAll || now.command == DramCommand::kRefreshBank;
    const bool opens_or_refreshes = now.command == DramCommand::kActivate || refreshes;

    if (before.command == DramCommand::kActivate) {
      if (now.command == DramCommand::kActivate) {
        if (same_bank && gap < t_.rc()) return "breaks rc";
        if (gap < (same_group ? t_.rrd_l : t_.rrd_s)) return "breaks rrd";
      }
      if (same_bank && refreshes && gap < t_.rc()) return "breaks rc before a refresh";
      if (same_bank && closes && gap < t_.ras) return "breaks ras";
      if (same_bank && IsColumn(now.command) && gap < (IsWrite(now.command) ? t_.rcd_write : t_.rcd_read)) {
        return "breaks rcd";
      }
    }
    const bool closed = before.command == DramCommand::kPrecharge || before.command == DramCommand::kPrechargeAll;
    if (closed && same_bank && opens_or_refreshes && gap < t_.rp) return "breaks rp";
    if (before.command == DramCommand::kRead && same_bank && closes && gap < t_.rtp) return "breaks rtp";
    if (before.command == DramCommand::kWrite && same_bank && closes && gap < t_.cwl + t_.burst + t_.wr) {
      return "breaks wr";
    }
    if (before.command == DramCommand::kReadAuto && same_bank && opens_or_refreshes && gap < t_.rtp_auto + t_.rp) {
      return "breaks rp after an auto-precharge";
    }
    if (before.command == DramCommand::kWriteAuto && same_bank && opens_or_refreshes &&
        gap < t_.cwl + t_.burst + t_.wr + t_.rp) {
      return "breaks wr and rp after an auto-precharge";
    }
    if (before.command == DramCommand::kRefreshAll && opens_or_refreshes && gap < t_.rfc) return "breaks rfc";
    if (before.command == DramCommand::kRefreshBank && opens_or_refreshes && before.bank == now.bank &&
        gap < t_.rfc_bank) {
      return "breaks rfc_bank";
    }
    if (before.command == DramCommand::kRefreshBank && now.command == DramCommand::kActivate && gap < t_.rrefd) {
      return "breaks rrefd";
    }
    if (IsColumn(before.command) && IsColumn(now.command)) {
      if (IsWrite(before.command) == IsWrite(now.command) && gap < (same_group ? t_.ccd_l : t_.ccd_s))
        return "breaks ccd";
      if (writes && !IsWrite(now.command) && gap < t_.cwl + t_.burst + (same_group ? t_.wtr_l : t_.wtr_s)) {
        return "breaks wtr";
      }
      // The data bus: a burst begins when the one before has ended.
      const Cycle ends = before.at + (writes ? t_.cwl : t_.cl) + t_.burst;
      const Cycle begins = now.at + (IsWrite(now.command) ? t_.cwl : t_.cl);
      if (begins < ends + (reads && IsWrite(now.command) ? t_.turnaround : 0)) return "meets another burst";
    }
    return "";
  }

  const DramConfig& c_;
  const DramTiming& t_;
  const std::vector<DramRequest>& trace_;
  std::vector<int> rows_;
  std::vector<Cycle> activates_;
};

}  // namespace

std::string FindViolation(const DramConfig& config, const std::vector<DramRequest>& trace,
                          const std::vector<DramIssue>& commands) {
  return Checker(config, trace).Check(commands);
}

}  // namespace tally::nearmem::testing
