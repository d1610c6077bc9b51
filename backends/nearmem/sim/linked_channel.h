// A vault seen through HMC's serial links: request packets wait in a link, cross to the vault's quadrant, enter the
// vault; responses go the way back to the link that they came by. Each hop has a queue of its own and takes a cycle per
// flit; the crossbar's ports are busy in between. One vault of one quadrant is exercised, and the logic runs at the
// DRAM's clock.
#ifndef TALLY_BACKENDS_NEARMEM_SIM_LINKED_CHANNEL_H_
#define TALLY_BACKENDS_NEARMEM_SIM_LINKED_CHANNEL_H_

#include <deque>
#include <memory>
#include <queue>
#include <unordered_map>
#include <utility>
#include <vector>

#include "backends/nearmem/sim/dram_channel.h"

namespace tally::nearmem {

class LinkedChannel final : public DramChannel {
 public:
  LinkedChannel(const DramConfig& config, std::unique_ptr<DramChannel> vault);

  // Requests take the links in turn, past those that are full.
  bool CanAccept(const DramRequest& request) const override;
  void Accept(const DramRequest& request, Cycle now) override;
  Cycle Tick(Cycle now) override;
  void Flush() override { vault_->Flush(); }
  bool idle() const override;
  DramCounts CountsAt(Cycle now) const override { return vault_->CountsAt(now); }
  // Requests are numbered in the order in which they enter the vault.
  void Observe(DramObserver observer) override { vault_->Observe(std::move(observer)); }

 private:
  // A packet in a queue that it has wholly entered at `ready`.
  struct Packet {
    DramRequest request;
    int link = 0;
    Cycle ready = 0;
  };
  struct Port {
    std::deque<Packet> packets;
    Cycle free = 0;  // takes the next packet from
  };

  int RequestFlits(const DramRequest& r) const { return r.is_write ? 1 + data_flits_ : 1; }
  int ResponseFlits(const DramRequest& r) const { return r.is_write ? 1 : 1 + data_flits_; }
  void Deliver(Cycle now);
  bool EnterVault(Cycle now);
  bool RequestsCross(Cycle now);
  bool ResponsesCross(Cycle now);
  Cycle BusyFor(int flits) const { return (flits + config_.crossbar_flits - 1) / config_.crossbar_flits; }
  bool Ready(Cycle at, Cycle now);

  const DramLinks config_;
  const size_t depth_;
  const int data_flits_;
  std::unique_ptr<DramChannel> vault_;
  std::vector<Port> request_links_, response_links_;
  Port request_quadrant_;
  std::deque<Packet> response_quadrant_;
  std::unordered_map<int64_t, Packet> in_vault_;  // by the id that the vault knows it by
  int64_t next_vault_id_ = 0;
  struct Later {
    bool operator()(const DramCompletion& a, const DramCompletion& b) const {
      return a.done != b.done ? a.done > b.done : a.id > b.id;
    }
  };
  std::priority_queue<DramCompletion, std::vector<DramCompletion>, Later> finishing_;  // in the vault, data on its way
  int next_link_ = 0;
  Cycle wake_ = kNever;
};

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_SIM_LINKED_CHANNEL_H_
