#include "backends/nearmem/sim/dram_config.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "backends/nearmem/sim/checker.h"

namespace tally::nearmem {
namespace {

constexpr int kMaxBanks = 256;
constexpr int kMaxCycles = 1 << 20;  // of one timing parameter
constexpr int kMaxQueue = 4096;

void CheckGeometry(const DramGeometry& g, Checker* check) {
  check->Int("geometry.bank_groups", g.bank_groups, 1, kMaxBanks);
  check->Int("geometry.banks_per_group", g.banks_per_group, 1, kMaxBanks);
  check->Int("geometry.rows", g.rows, 1, 1 << 24);
  check->Int("geometry.bursts_per_row", g.bursts_per_row, 1, 1 << 16);
  check->Int("geometry.burst_bytes", g.burst_bytes, 1, 1 << 12);
  check->Int("geometry.pseudo_channels", g.pseudo_channels, 1, 16);
}

void CheckTiming(const DramTiming& t, Checker* check) {
  check->Number("timing.tck_ns", t.tck_ns, 1e-3, 1e3);
  check->Int("timing.burst", t.burst, 1, kMaxCycles);
  check->Int("timing.cl", t.cl, 0, kMaxCycles);
  check->Int("timing.cwl", t.cwl, 0, kMaxCycles);
  check->Int("timing.rcd_read", t.rcd_read, 0, kMaxCycles);
  check->Int("timing.rcd_write", t.rcd_write, 0, kMaxCycles);
  check->Int("timing.rp", t.rp, 0, kMaxCycles);
  check->Int("timing.ras", t.ras, 1, kMaxCycles);
  check->Int("timing.rrd_s", t.rrd_s, 1, kMaxCycles);
  check->Int("timing.rrd_l", t.rrd_l, 1, kMaxCycles);
  check->Int("timing.faw", t.faw, 1, kMaxCycles);
  check->Int("timing.ccd_s", t.ccd_s, 1, kMaxCycles);
  check->Int("timing.ccd_l", t.ccd_l, 1, kMaxCycles);
  check->Int("timing.wtr_s", t.wtr_s, 0, kMaxCycles);
  check->Int("timing.wtr_l", t.wtr_l, 0, kMaxCycles);
  check->Int("timing.wr", t.wr, 0, kMaxCycles);
  check->Int("timing.rtp", t.rtp, 0, kMaxCycles);
  check->Int("timing.rtp_auto", t.rtp_auto, 0, kMaxCycles);
  check->Int("timing.turnaround", t.turnaround, 0, kMaxCycles);
  check->Int("timing.act_cycles", t.act_cycles, 1, 16);
}

// The most that one access and closing its row take in an otherwise idle channel: a refresh interval must leave more,
// or nothing is ever served.
int64_t WorstAccess(const DramConfig& c) {
  const DramTiming& t = c.timing;
  const int64_t open = t.act_cycles + std::max({t.rrd_s, t.rrd_l, t.faw}) + std::max(t.rcd_read, t.rcd_write);
  const int64_t bus = t.cl + t.cwl + 2 * t.burst + t.turnaround + std::max(t.wtr_s, t.wtr_l);
  const int64_t close = std::max({t.ras, t.wr, t.rtp, t.rtp_auto}) + t.rp;
  return open + bus + close + c.geometry.banks() + c.geometry.pseudo_channels;
}

void CheckRefresh(const DramConfig& c, Checker* check) {
  const DramTiming& t = c.timing;
  const int64_t worst = WorstAccess(c);
  if (c.controller.refresh == RefreshMode::kAllBank) {
    check->Int("timing.rfc", t.rfc, 1, kMaxCycles);
    check->Expect("timing.refi", t.refi > t.rfc + worst,
                  absl::StrCat("more than rfc and an access take, ", t.rfc + worst), t.refi);
  }
  if (c.controller.refresh == RefreshMode::kPerBank) {
    check->Int("timing.rfc_bank", t.rfc_bank, 1, kMaxCycles);
    check->Int("timing.rrefd", t.rrefd, 1, kMaxCycles);
    // A refresh of one bank only keeps others from being opened; those that were go on.
    const int64_t between =
        t.rrefd + t.rp + std::max({t.rrd_s, t.rrd_l, t.faw}) + t.act_cycles + c.geometry.pseudo_channels;
    check->Expect("timing.refi_bank", t.refi_bank > between,
                  absl::StrCat("more than opening a row after a refresh takes, ", between), t.refi_bank);
    const int64_t round = int64_t{t.refi_bank} * c.geometry.banks() * c.geometry.pseudo_channels;
    check->Expect("timing.refi_bank", round > t.rfc_bank + worst,
                  absl::StrCat("a round of all banks longer than rfc_bank and an access, ", t.rfc_bank + worst), round);
  }
}

void CheckController(const DramConfig& c, Checker* check) {
  const DramController& q = c.controller;
  const bool per_bank = q.queues == QueueKind::kPerBank;
  check->Int("controller.read_queue", q.read_queue, 1, kMaxQueue);
  if (per_bank) {
    check->Int("controller.bank_queue", q.bank_queue, 1, kMaxQueue);
    check->Int("controller.row_hit_limit", q.row_hit_limit, 1, kMaxCycles);
    check->Expect("controller.page_policy", q.page_policy != PagePolicy::kClosedCap,
                  "open or closed with queues per_bank", "closed_cap");
    check->Expect("geometry.pseudo_channels", c.geometry.pseudo_channels == 1, "1 with queues per_bank",
                  c.geometry.pseudo_channels);
  } else {
    check->Expect("controller.writes", q.writes == WriteMode::kDrain, "drain with queues shared", "in_order");
  }
  if (q.writes == WriteMode::kDrain) {
    check->Int("controller.write_queue", q.write_queue, 1, kMaxQueue);
    check->Int("controller.drain_high", q.drain_high, 1, q.write_queue);
    check->Int("controller.drain_idle", q.drain_idle, 1, q.write_queue);
    if (!per_bank) check->Int("controller.drain_low", q.drain_low, 1, q.drain_high);
  }
  if (q.page_policy == PagePolicy::kClosedCap) check->Int("controller.column_cap", q.column_cap, 1, kMaxCycles);
  check->Expect("timing.act_cycles", c.timing.act_cycles == 1 || q.dual_command_bus,
                "1 without a command bus of its own for rows", c.timing.act_cycles);
}

void CheckLinks(const DramLinks& links, Checker* check) {
  check->Int("links.links", links.links, 1, 64);
  check->Int("links.queue_depth", links.queue_depth, 1, kMaxQueue);
  check->Int("links.flit_bytes", links.flit_bytes, 1, 1 << 12);
  check->Int("links.crossbar_flits", links.crossbar_flits, 1, 1 << 12);
}

void CheckEnergy(const DramEnergy& e, Checker* check) {
  constexpr double kMax = 1e12;
  check->Number("energy.events.activate_pj", e.activate_pj, 0, kMax);
  check->Number("energy.events.read_pj", e.read_pj, 0, kMax);
  check->Number("energy.events.write_pj", e.write_pj, 0, kMax);
  check->Number("energy.events.io_pj_per_bit", e.io_pj_per_bit, 0, kMax);
  check->Number("energy.events.refresh_pj", e.refresh_pj, 0, kMax);
  check->Number("energy.events.active_standby_mw", e.active_standby_mw, 0, kMax);
  check->Number("energy.events.precharge_standby_mw", e.precharge_standby_mw, 0, kMax);
  check->Number("energy.flat.pj_per_bit", e.flat_pj_per_bit, 0, kMax);
  check->Number("energy.flat.background_mw", e.flat_background_mw, 0, kMax);
}

}  // namespace

absl::Status Validate(const DramConfig& config) {
  Checker check;
  CheckGeometry(config.geometry, &check);
  check.Expect("geometry.banks_per_group", config.geometry.banks() <= kMaxBanks,
               absl::StrCat("at most ", kMaxBanks, " banks in all"), config.geometry.banks());
  CheckTiming(config.timing, &check);
  CheckController(config, &check);
  CheckRefresh(config, &check);
  if (config.links) CheckLinks(*config.links, &check);
  CheckEnergy(config.energy, &check);
  return check.status();
}

}  // namespace tally::nearmem
