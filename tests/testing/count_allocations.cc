#include "tests/testing/count_allocations.h"

#include <cstdlib>
#include <new>

namespace tally::testing {

std::atomic<int> allocations{0};

}  // namespace tally::testing

void* operator new(size_t size) {
  ++tally::testing::allocations;
  void* p = std::malloc(size > 0 ? size : 1);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  ++tally::testing::allocations;
  return std::malloc(size > 0 ? size : 1);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
