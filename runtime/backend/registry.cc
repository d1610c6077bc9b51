#include "runtime/backend/registry.h"

namespace tally {

void Registry::Add(std::shared_ptr<const Backend> backend) {
  for (auto& b : backends_) {
    if (b->name() == backend->name()) {
      b = std::move(backend);
      return;
    }
  }
  backends_.push_back(std::move(backend));
}

std::shared_ptr<const Backend> Registry::Find(const std::string& name) const {
  for (const auto& b : backends_) {
    if (b->name() == name) return b;
  }
  return nullptr;
}

std::vector<std::string> Registry::names() const {
  std::vector<std::string> names;
  for (const auto& b : backends_) names.push_back(b->name());
  return names;
}

}  // namespace tally
