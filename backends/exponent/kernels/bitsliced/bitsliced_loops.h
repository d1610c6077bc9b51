// The loops of bitsliced.h over a vector type V, which the including file defines before:
//   V::Load(p), v.Store(p), v ^ w, FullAdd(&sum, a, b): adds planes a and b to *sum and returns the carry,
//   HalfAdd(&sum, a): the same with one plane,
//   SumWhereSet(planes, weights, count, sums): sums[o] = sum of the weights of those planes of 64 bytes in which bit o
//   is set, modulo 2^32.
// Everything is in an unnamed namespace.
#ifndef TALLY_BACKENDS_EXPONENT_KERNELS_BITSLICED_BITSLICED_LOOPS_H_
#define TALLY_BACKENDS_EXPONENT_KERNELS_BITSLICED_BITSLICED_LOOPS_H_

#include "backends/exponent/kernels/bitsliced/bitsliced.h"

namespace tally {
namespace {

#define TALLY_UNROLL _Pragma("GCC unroll 32")

constexpr size_t kGroup = 8;     // rows that are added at once
constexpr size_t kPortion = 64;  // rows after which a carry leaves the six levels that are summed at once
constexpr size_t kTiers = 2;     // of three levels each
constexpr size_t kFirstLevels = 3 * kTiers;

// Three levels of a counter.
struct Tier {
  V ones, twos, fours;

  // Adds eight planes; the carry counts 8.
  V Add(const V* x) {
    const V two0 = FullAdd(&ones, x[0], x[1]), two1 = FullAdd(&ones, x[2], x[3]);
    const V four0 = FullAdd(&twos, two0, two1);
    const V two2 = FullAdd(&ones, x[4], x[5]), two3 = FullAdd(&ones, x[6], x[7]);
    return FullAdd(&fours, four0, FullAdd(&twos, two2, two3));
  }
  static Tier Zero() { return {V::Zero(), V::Zero(), V::Zero()}; }
  static Tier Load(const uint8_t* p) {
    return {V::Load(p), V::Load(p + kBitslicedPlane), V::Load(p + 2 * kBitslicedPlane)};
  }
  void Store(uint8_t* p) const {
    ones.Store(p);
    twos.Store(p + kBitslicedPlane);
    fours.Store(p + 2 * kBitslicedPlane);
  }
};

// Where an upper level keeps its sum; the carry that waits for a second follows.
inline uint8_t* UpperLevel(uint8_t* counter, size_t level) {
  return counter + (kFirstLevels + 2 * (level - kFirstLevels)) * kBitslicedPlane;
}

// A carry out of the first levels after `portions` others: every second one of a level meets one that waits there.
inline void AddCarry(V carry, uint32_t portions, uint8_t* counter) {
  uint8_t* level = UpperLevel(counter, kFirstLevels);
  for (; (portions & 1) != 0; portions >>= 1, level += 2 * kBitslicedPlane) {
    // The first two of a level find no sum yet.
    V sum = portions == 1 ? V::Zero() : V::Load(level);
    carry = FullAdd(&sum, V::Load(level + kBitslicedPlane), carry);
    sum.Store(level);
  }
  carry.Store(level + kBitslicedPlane);
}

// Counts the parities of four masks, `kMask` and those with exponent bits 0 and 1 as well, over up to 8 groups of rows;
// meanwhile asks for this call's share of the lines of as many rows in `ahead`: all at once would wait for each other.
template <int kBits, uint32_t kMask>
inline void CountFour(const uint8_t* const* rows, const uint8_t* const* ahead, size_t groups, uint32_t portions,
                      uint8_t* counters) {
  static_assert((kMask & 3) == 0);
  constexpr uint32_t kOrder[4] = {0, 1, 3, 2};  // one bit changes from each to the next
  constexpr size_t kTierBytes = 3 * kBitslicedPlane;
  uint8_t* counter = counters + kMask * kBitslicedCounter * kBitslicedPlane;
  constexpr size_t kStep = kBitslicedCounter * kBitslicedPlane;
  for (size_t at = 0; at < kBitslicedPlane; at += sizeof(V)) {
    Tier tiers[4];
    TALLY_UNROLL for (size_t m = 0; m < 4; ++m) {
      tiers[m] = portions == 0 ? Tier::Zero() : Tier::Load(counter + kOrder[m] * kStep + at);
    }
    V carries[4][kPortion / kGroup];
    for (size_t g = 0; g < groups; ++g) {
      const uint8_t* const* p = rows + g * kGroup;
      if (at == 0) {
        TALLY_UNROLL for (size_t line = kMask / 4; line <= kBits; line += (1u << kBits) / 4) {
          TALLY_UNROLL for (size_t i = 0; i < kGroup; ++i) __builtin_prefetch(ahead[g * kGroup + i] + 64 * line, 0, 2);
        }
      }
      V x[kGroup];
      TALLY_UNROLL for (size_t i = 0; i < kGroup; ++i) {
        x[i] = V::Load(p[i] + at);
        TALLY_UNROLL for (int bit = 2; bit < kBits; ++bit) {
          if ((kMask >> bit) & 1) x[i] = x[i] ^ V::Load(p[i] + at + static_cast<size_t>(1 + bit) * kBitslicedPlane);
        }
      }
      TALLY_UNROLL for (size_t m = 0; m < 4; ++m) {
        if (m > 0) {
          const size_t plane = at + (m == 2 ? 2 : 1) * kBitslicedPlane;
          TALLY_UNROLL for (size_t i = 0; i < kGroup; ++i) x[i] = x[i] ^ V::Load(p[i] + plane);
        }
        carries[m][g] = tiers[m].Add(x);
      }
    }
    TALLY_UNROLL for (size_t m = 0; m < 4; ++m) {
      uint8_t* of_mask = counter + kOrder[m] * kStep + at;
      tiers[m].Store(of_mask);
      for (size_t g = groups; g < kPortion / kGroup; ++g) carries[m][g] = V::Zero();
      Tier eights = portions == 0 ? Tier::Zero() : Tier::Load(of_mask + kTierBytes);
      const V carry = eights.Add(carries[m]);
      eights.Store(of_mask + kTierBytes);
      AddCarry(carry, portions, of_mask);
    }
  }
}

template <int kBits, uint32_t kMask = 0>
void CountMasks(const uint8_t* const* rows, const uint8_t* const* ahead, size_t groups, uint32_t portions,
                uint8_t* counters) {
  CountFour<kBits, kMask>(rows, ahead, groups, portions, counters);
  if constexpr (kMask + 4 < (1u << kBits)) CountMasks<kBits, kMask + 4>(rows, ahead, groups, portions, counters);
}

// What a bucket has seen.
struct Seen {
  uint32_t rows = 0, portions = 0;
};

// The planes of a count.
inline void Settle(uint8_t* counter, const Seen& seen, size_t levels, V* count) {
  for (size_t l = 0; l < levels; ++l) {
    if (l < kFirstLevels) {
      count[l] = V::Load(counter + l * kBitslicedPlane);
    } else {
      const bool has_sum = (seen.portions >> (l - kFirstLevels + 1)) != 0;
      count[l] = has_sum ? V::Load(UpperLevel(counter, l)) : V::Zero();
    }
  }
  for (size_t l = kFirstLevels; l < levels; ++l) {
    if (((seen.portions >> (l - kFirstLevels)) & 1) == 0) continue;
    V carry = V::Load(UpperLevel(counter, l) + kBitslicedPlane);
    for (size_t up = l; up < levels; ++up) carry = HalfAdd(&count[up], carry);
  }
}

inline uint32_t Magnitude(int32_t v) { return static_cast<uint32_t>(v < 0 ? -v : v); }

// A number per output, in planes with weights 1, 2, 4, ...
struct Number {
  V planes[kBitslicedSumBits];
  size_t used = 0;    // planes from here on are zero
  uint64_t most = 0;  // what no output exceeds

  // Adds the number in `count` planes that no output of `other_most` exceeds, times 2^shift.
  void Add(const V* other, size_t count, uint64_t other_most, size_t shift) {
    if (count == 0) return;
    for (; used < shift + count; ++used) planes[used] = V::Zero();
    V carry = HalfAdd(&planes[shift], other[0]);
    for (size_t i = 1; i < count; ++i) carry = FullAdd(&planes[shift + i], other[i], carry);
    for (size_t c = shift + count; c < used; ++c) carry = HalfAdd(&planes[c], carry);
    most += other_most << shift;
    if (used < 64 && (most >> used) != 0) planes[used++] = carry;
  }
};

// The planes of all sums with their weights.
struct WeightedPlanes {
  const uint8_t* planes[kBitslicedSumPlanes];
  int64_t weights[kBitslicedSumPlanes];
  size_t count = 0;
};

template <int kBits>
void SumBuckets(const BitslicedCall& call, const Seen* seen, WeightedPlanes* list) {
  uint8_t* to = call.counters + call.buckets * BitslicedCounterBytes(kBits);
  for (size_t at = 0; at < kBitslicedPlane; at += sizeof(V)) {
    Number totals[2];  // what is subtracted, what is added
    for (size_t mask = 0; mask < (size_t{1} << kBits); ++mask) {
      const int32_t factor = call.transform[mask];
      for (size_t negative = 0; negative < 2; ++negative) {
        Number sum;
        for (size_t b = 0; b < call.buckets; ++b) {
          const int32_t magnitude = call.magnitudes[b];
          if ((magnitude < 0) != (negative == 1) || seen[b].rows == 0) continue;
          const size_t levels = 32 - static_cast<size_t>(__builtin_clz(seen[b].rows));
          V count[kBitslicedLevels];
          Settle(call.counters + b * BitslicedCounterBytes(kBits) + mask * kBitslicedCounter * kBitslicedPlane + at,
                 seen[b], levels, count);
          for (uint32_t bits = Magnitude(magnitude); bits != 0; bits &= bits - 1) {
            sum.Add(count, levels, seen[b].rows, static_cast<size_t>(__builtin_ctz(bits)));
          }
        }
        Number& total = totals[(factor < 0) != (negative == 1) ? 1 : 0];
        for (uint32_t bits = Magnitude(factor); bits != 0; bits &= bits - 1) {
          total.Add(sum.planes, sum.used, sum.most, static_cast<size_t>(__builtin_ctz(bits)));
        }
      }
    }
    // The same planes at every `at`.
    list->count = 0;
    for (size_t added = 0; added < 2; ++added) {
      for (size_t i = 0; i < totals[added].used; ++i) {
        totals[added].planes[i].Store(to + list->count * kBitslicedPlane + at);
        list->planes[list->count] = to + list->count * kBitslicedPlane;
        list->weights[list->count++] = (added == 1 ? int64_t{2} : int64_t{-2}) * (int64_t{1} << i);
      }
    }
  }
}

template <int kBits>
void CountOf(const BitslicedCall& call) {
  constexpr size_t kRowBytes = (kBits + 1) * kBitslicedPlane;
  const size_t total = call.chunks == 0 ? 0 : call.ends[call.chunks * call.buckets - 1];
  Seen seen[256];
  const uint8_t* portion[kPortion];
  const uint8_t* ahead[kPortion];
  size_t begin = 0;
  for (size_t c = 0; c < call.chunks; ++c) {
    const uint32_t* ends = call.ends + c * call.buckets;
    const size_t chunk_rows = ends[call.buckets - 1] - begin;
    for (size_t b = 0, i = begin; b < call.buckets; ++b) {
      seen[b].rows += static_cast<uint32_t>(ends[b] - i);
      while (i < ends[b]) {
        const size_t count = ends[b] - i < kPortion ? ends[b] - i : kPortion;
        for (size_t j = 0; j < count; ++j, ++i) {
          portion[j] = call.planes + call.rows[i] * kRowBytes;
          // What comes next: the following chunk, or the first one of the next 512 outputs.
          const size_t later = i + chunk_rows;
          if (later < total) {
            ahead[j] = call.planes + call.ascending[later] * kRowBytes;
          } else {
            ahead[j] =
                call.is_last ? call.zeros : call.planes + (call.row_count + call.ascending[later - total]) * kRowBytes;
          }
        }
        // Whole groups; a row of zeros counts nothing.
        const size_t groups = (count + kGroup - 1) / kGroup;
        for (size_t j = count; j < groups * kGroup; ++j) portion[j] = ahead[j] = call.zeros;
        CountMasks<kBits>(portion, ahead, groups, seen[b].portions++, call.counters + b * BitslicedCounterBytes(kBits));
      }
    }
    begin = ends[call.buckets - 1];
  }
  WeightedPlanes list;
  SumBuckets<kBits>(call, seen, &list);
  // The sums are exact multiples of 2^n.
  if (call.narrow != nullptr) {
    uint32_t weights[kBitslicedSumPlanes];
    for (size_t i = 0; i < list.count; ++i) weights[i] = static_cast<uint32_t>(list.weights[i]);
    SumWhereSet(list.planes, weights, list.count, reinterpret_cast<uint32_t*>(call.narrow));
    for (size_t o = 0; o < kBitslicedOutputs; ++o) call.narrow[o] >>= kBits;
  } else {
    for (size_t o = 0; o < kBitslicedOutputs; ++o) {
      int64_t sum = 0;
      for (size_t i = 0; i < list.count; ++i) {
        sum += ((list.planes[i][o / 8] >> (o % 8)) & 1) != 0 ? list.weights[i] : 0;
      }
      call.wide[o] = sum >> kBits;
    }
  }
}

void Count(const BitslicedCall& call) {
  switch (call.n) {
    case 2: CountOf<2>(call); break;
    case 3: CountOf<3>(call); break;
    default: CountOf<4>(call); break;
  }
}

}  // namespace
}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_KERNELS_BITSLICED_BITSLICED_LOOPS_H_
