// <immintrin.h> without the warnings that GCC 12 gives for its own _mm512_undefined_epi32. For files that are compiled
// for one instruction set: nothing here emits code.
#ifndef TALLY_RUNTIME_CORE_X86_INTRINSICS_H_
#define TALLY_RUNTIME_CORE_X86_INTRINSICS_H_

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#endif  // TALLY_RUNTIME_CORE_X86_INTRINSICS_H_
