// Replaces operator new of the whole program by one that can be told to fail once. Single-threaded tests only.
#ifndef TALLY_TESTS_FORMAT_FAILING_ALLOCATOR_H_
#define TALLY_TESTS_FORMAT_FAILING_ALLOCATOR_H_

namespace tally::testing {

// Number of allocations that still succeed before one throws std::bad_alloc; negative: none does. Counts down and
// passes below zero with the failure.
extern long allocations_until_failure;

}  // namespace tally::testing

#endif  // TALLY_TESTS_FORMAT_FAILING_ALLOCATOR_H_
