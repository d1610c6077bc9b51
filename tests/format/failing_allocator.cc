#include "tests/format/failing_allocator.h"

#include <cstdlib>
#include <new>

namespace tally::testing {

long allocations_until_failure = -1;

}  // namespace tally::testing

void* operator new(size_t size) {
  long& left = tally::testing::allocations_until_failure;
  if (left >= 0 && left-- == 0) throw std::bad_alloc();
  void* p = std::malloc(size == 0 ? 1 : size);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
