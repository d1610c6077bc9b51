#include "backends/nearmem/sim/dram_channel.h"

#include "backends/nearmem/sim/bank_queue_channel.h"
#include "backends/nearmem/sim/linked_channel.h"
#include "backends/nearmem/sim/shared_queue_channel.h"

namespace tally::nearmem {

std::unique_ptr<DramChannel> MakeDramChannel(const DramConfig& config) {
  std::unique_ptr<DramChannel> channel;
  if (config.controller.queues == QueueKind::kPerBank) {
    channel = std::make_unique<BankQueueChannel>(config);
  } else {
    channel = std::make_unique<SharedQueueChannel>(config);
  }
  if (config.links) channel = std::make_unique<LinkedChannel>(config, std::move(channel));
  return channel;
}

}  // namespace tally::nearmem
