#include "backends/nearmem/sim/linked_channel.h"

#include <algorithm>

namespace tally::nearmem {

LinkedChannel::LinkedChannel(const DramConfig& config, std::unique_ptr<DramChannel> vault)
    : config_(*config.links),
      depth_(static_cast<size_t>(config_.queue_depth)),
      data_flits_((config.geometry.burst_bytes + config_.flit_bytes - 1) / config_.flit_bytes),
      vault_(std::move(vault)),
      request_links_(config_.links),
      response_links_(config_.links) {}

bool LinkedChannel::CanAccept(const DramRequest&) const {
  return std::any_of(request_links_.begin(), request_links_.end(),
                     [&](const Port& link) { return link.packets.size() < depth_; });
}

void LinkedChannel::Accept(const DramRequest& request, Cycle now) {
  while (request_links_[next_link_].packets.size() >= depth_) next_link_ = (next_link_ + 1) % config_.links;
  request_links_[next_link_].packets.push_back({request, next_link_, now});
  next_link_ = (next_link_ + 1) % config_.links;
}

bool LinkedChannel::idle() const {
  const auto empty = [](const Port& link) { return link.packets.empty(); };
  return vault_->idle() && in_vault_.empty() && request_quadrant_.packets.empty() && response_quadrant_.empty() &&
         std::all_of(request_links_.begin(), request_links_.end(), empty) &&
         std::all_of(response_links_.begin(), response_links_.end(), empty);
}

Cycle LinkedChannel::Tick(Cycle now) {
  wake_ = kNever;
  Deliver(now);
  wake_ = std::min(wake_, vault_->Tick(now));
  for (const DramCompletion& c : vault_->TakeCompletions()) finishing_.push(c);
  while (!finishing_.empty() && Ready(finishing_.top().done, now)) {
    const auto it = in_vault_.find(finishing_.top().id);
    response_quadrant_.push_back(it->second);
    in_vault_.erase(it);
    finishing_.pop();
  }
  const bool entered = EnterVault(now);
  const bool requested = RequestsCross(now);
  const bool responded = ResponsesCross(now);
  return entered || requested || responded ? now + 1 : wake_;
}

bool LinkedChannel::Ready(Cycle at, Cycle now) {
  if (at <= now) return true;
  wake_ = std::min(wake_, at);
  return false;
}

void LinkedChannel::Deliver(Cycle now) {
  for (Port& link : response_links_) {
    while (!link.packets.empty() && Ready(link.packets.front().ready, now)) {
      Complete(link.packets.front().request, now);
      link.packets.pop_front();
    }
  }
}

bool LinkedChannel::EnterVault(Cycle now) {
  std::deque<Packet>& queue = request_quadrant_.packets;
  if (queue.empty() || response_quadrant_.size() >= depth_ || !Ready(queue.front().ready, now)) return false;
  DramRequest request = queue.front().request;
  if (!vault_->CanAccept(request)) return false;
  request.id = next_vault_id_++;
  in_vault_[request.id] = queue.front();
  queue.pop_front();
  vault_->Accept(request, now + 1);
  return true;
}

bool LinkedChannel::RequestsCross(Cycle now) {
  bool moved = false;
  // Links take turns to be first.
  for (int i = 0; i < config_.links; ++i) {
    Port& link = request_links_[(now + i) % config_.links];
    if (link.packets.empty() || request_quadrant_.packets.size() >= depth_) continue;
    if (!Ready(request_quadrant_.free, now)) continue;
    Packet packet = link.packets.front();
    link.packets.pop_front();
    packet.ready = now + RequestFlits(packet.request);
    request_quadrant_.free = now + BusyFor(RequestFlits(packet.request));
    request_quadrant_.packets.push_back(packet);
    moved = true;
  }
  return moved;
}

bool LinkedChannel::ResponsesCross(Cycle now) {
  if (response_quadrant_.empty()) return false;
  Packet packet = response_quadrant_.front();
  Port& link = response_links_[packet.link];
  if (link.packets.size() >= depth_ || !Ready(link.free, now)) return false;
  response_quadrant_.pop_front();
  packet.ready = now + ResponseFlits(packet.request);
  link.free = now + BusyFor(ResponseFlits(packet.request));
  link.packets.push_back(packet);
  return true;
}

}  // namespace tally::nearmem
