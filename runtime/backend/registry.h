// Backends by name, in order. An ordinary object: no globals, no static initialisers. Copies share the backends.
#ifndef TALLY_RUNTIME_BACKEND_REGISTRY_H_
#define TALLY_RUNTIME_BACKEND_REGISTRY_H_

#include <memory>
#include <string>
#include <vector>

#include "runtime/backend/backend.h"

namespace tally {

class TALLY_API Registry {
 public:
  // Adds a backend; one of the same name is replaced.
  void Add(std::shared_ptr<const Backend> backend);
  // Null when there is none of that name.
  std::shared_ptr<const Backend> Find(const std::string& name) const;
  std::vector<std::string> names() const;

 private:
  std::vector<std::shared_ptr<const Backend>> backends_;
};

}  // namespace tally

#endif  // TALLY_RUNTIME_BACKEND_REGISTRY_H_
