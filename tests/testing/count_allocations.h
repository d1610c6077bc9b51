// Replaces operator new of the whole program by one that counts. A test that wants it lists count_allocations.cc among
// its sources.
#ifndef TALLY_TESTS_TESTING_COUNT_ALLOCATIONS_H_
#define TALLY_TESTS_TESTING_COUNT_ALLOCATIONS_H_

#include <atomic>

namespace tally::testing {

extern std::atomic<int> allocations;

}  // namespace tally::testing

#endif  // TALLY_TESTS_TESTING_COUNT_ALLOCATIONS_H_
