// Whether a sanitizer that changes time and address space is built in.
#ifndef TALLY_TESTS_TESTING_SANITIZED_H_
#define TALLY_TESTS_TESTING_SANITIZED_H_

namespace tally::testing {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
inline constexpr bool kSanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
inline constexpr bool kSanitized = false;
#endif

// Whether code runs many times slower than it is meant to.
#if defined(NDEBUG)
inline constexpr bool kSlow = kSanitized;
#else
inline constexpr bool kSlow = true;
#endif

}  // namespace tally::testing

#endif  // TALLY_TESTS_TESTING_SANITIZED_H_
