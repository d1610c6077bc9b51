// The loops of bitsliced.h over a vector type V, which the including file defines before:
//   V::Load(p), v.Store(p), v ^ w, ~v, FullAdd(&sum, a, b): adds planes a and b to *sum and returns the carry,
//   HalfAdd(&sum, a): the same with one plane,
//   SumWhereSet(planes, weights, count, sums): sums[o] = sum of the weights of those of `count` planes of 64 bytes in
//   which bit o is set, modulo 2^32.
// Everything is in an unnamed namespace.
#ifndef TALLY_BACKENDS_EXPONENT_KERNELS_BITSLICED_BITSLICED_LOOPS_H_
#define TALLY_BACKENDS_EXPONENT_KERNELS_BITSLICED_BITSLICED_LOOPS_H_

#include "backends/exponent/kernels/bitsliced/bitsliced.h"

namespace tally {
namespace {

#define TALLY_UNROLL _Pragma("GCC unroll 32")

constexpr size_t kGroup = kBitslicedGroup;
constexpr size_t kGroupLevels = 3;                               // 1, 2 and 4, in registers
constexpr size_t kPortion = size_t{1} << kBitslicedFirstLevels;  // rows after which a carry leaves the first levels
constexpr size_t kPortionGroups = kPortion / kGroup;

// Adds 2^kCountLevels planes, all of one weight, to a counter whose first level has that weight; the carry is of level
// kCountLevels.
template <size_t kCountLevels>
inline V AddAll(V* levels, const V* x) {
  if constexpr (kCountLevels == 0) {
    return *x;
  } else {
    const V first = AddAll<kCountLevels - 1>(levels, x);
    const V second = AddAll<kCountLevels - 1>(levels, x + (size_t{1} << (kCountLevels - 1)));
    return FullAdd(&levels[kCountLevels - 1], first, second);
  }
}

// Where an upper level keeps its sum; the carry that waits for a second follows.
inline uint8_t* UpperLevel(uint8_t* counter, size_t level) {
  return counter + (kBitslicedFirstLevels + 2 * (level - kBitslicedFirstLevels)) * kBitslicedPlane;
}

// A carry out of the first levels after `portions` others: every second one of a level meets one that waits there.
inline void AddCarry(V carry, uint32_t portions, uint8_t* counter) {
  uint8_t* level = UpperLevel(counter, kBitslicedFirstLevels);
  for (; (portions & 1) != 0; portions >>= 1, level += 2 * kBitslicedPlane) {
    // The first two of a level find no sum yet.
    V sum = portions == 1 ? V::Zero() : V::Load(level);
    carry = FullAdd(&sum, V::Load(level + kBitslicedPlane), carry);
    sum.Store(level);
  }
  carry.Store(level + kBitslicedPlane);
}

// Levels [kFirst, kFirst + kCount) of a counter.
template <size_t kFirst, size_t kCount>
struct Levels {
  V v[kCount];
  Levels(const uint8_t* counter, bool is_new) {
    TALLY_UNROLL for (size_t l = 0; l < kCount; ++l) {
      v[l] = is_new ? V::Zero() : V::Load(counter + (kFirst + l) * kBitslicedPlane);
    }
  }
  void Store(uint8_t* counter) const {
    TALLY_UNROLL for (size_t l = 0; l < kCount; ++l) v[l].Store(counter + (kFirst + l) * kBitslicedPlane);
  }
};

// Counts the parities of four masks, `kMask` and those with exponent bits 0 and 1 as well, over the groups of a
// portion; meanwhile asks for this call's share of as many rows further on: all at once would wait for each other.
template <int kBits, uint32_t kMask>
inline void CountFour(const uint8_t* planes, const uint32_t* rows, size_t groups, uint32_t portions,
                      uint8_t* counters) {
  static_assert((kMask & 3) == 0);
  constexpr uint32_t kOrder[4] = {0, 1, 3, 2};    // one bit changes from each to the next
  constexpr size_t kAhead = 4 * kGroup >> kBits;  // rows to ask for per group
  constexpr size_t kStep = kBitslicedCounter * kBitslicedPlane;
  uint8_t* counter = counters + kMask * kStep;
  for (size_t at = 0; at < kBitslicedPlane; at += sizeof(V)) {
    using Low = Levels<0, kGroupLevels>;
    Low low[4] = {{counter + at, portions == 0},
                  {counter + kStep + at, portions == 0},
                  {counter + 3 * kStep + at, portions == 0},
                  {counter + 2 * kStep + at, portions == 0}};
    V carries[4][kPortionGroups];
    for (size_t g = 0; g < groups; ++g) {
      const uint32_t* ahead = rows + kBitslicedAhead + (kMask / 4 * groups + g) * kAhead;
      const uint8_t* p[kGroup];
      TALLY_UNROLL for (size_t i = 0; i < kGroup; ++i) p[i] = planes + rows[g * kGroup + i];
      V x[kGroup];
      TALLY_UNROLL for (size_t i = 0; i < kGroup; ++i) {
        x[i] = V::Load(p[i] + at);
        TALLY_UNROLL for (int bit = 2; bit < kBits; ++bit) {
          if ((kMask >> bit) & 1) x[i] = x[i] ^ V::Load(p[i] + at + static_cast<size_t>(1 + bit) * kBitslicedPlane);
        }
      }
      TALLY_UNROLL for (size_t m = 0; m < 4; ++m) {
        if (at == 0) {
          TALLY_UNROLL for (size_t i = 0; i < kAhead; ++i) {
            if (i * 4 / kAhead != m) continue;
            const uint8_t* row = planes + ahead[i];
            TALLY_UNROLL for (size_t line = 0; line <= kBits; ++line) __builtin_prefetch(row + 64 * line, 0, 2);
          }
        }
        if (m > 0) {
          const size_t plane = at + (m == 2 ? 2 : 1) * kBitslicedPlane;
          TALLY_UNROLL for (size_t i = 0; i < kGroup; ++i) x[i] = x[i] ^ V::Load(p[i] + plane);
        }
        carries[m][g] = AddAll<kGroupLevels>(low[m].v, x);
      }
    }
    constexpr size_t kFewGroups = kPortionGroups / 4;
    const size_t all = groups <= kFewGroups ? kFewGroups : kPortionGroups;
    TALLY_UNROLL for (size_t m = 0; m < 4; ++m) {
      uint8_t* of_mask = counter + kOrder[m] * kStep + at;
      low[m].Store(of_mask);
      for (size_t g = groups; g < all; ++g) carries[m][g] = V::Zero();
      Levels<kGroupLevels, kBitslicedFirstLevels - kGroupLevels> high(of_mask, portions == 0);
      constexpr size_t kAll = kBitslicedFirstLevels - kGroupLevels;
      V carry;
      if (all == kPortionGroups) {
        carry = AddAll<kAll>(high.v, carries[m]);
      } else {
        carry = HalfAdd(&high.v[kAll - 1], HalfAdd(&high.v[kAll - 2], AddAll<kAll - 2>(high.v, carries[m])));
      }
      high.Store(of_mask);
      AddCarry(carry, portions, of_mask);
    }
  }
}

template <int kBits, uint32_t kMask = 0>
void CountMasks(const uint8_t* planes, const uint32_t* rows, size_t groups, uint32_t portions, uint8_t* counters) {
  CountFour<kBits, kMask>(planes, rows, groups, portions, counters);
  if constexpr (kMask + 4 < (1u << kBits)) CountMasks<kBits, kMask + 4>(planes, rows, groups, portions, counters);
}

// What a bucket has seen.
struct Seen {
  uint32_t rows, portions;
  // Levels of its counters.
  size_t Levels() const { return rows == 0 ? 0 : 32 - static_cast<size_t>(__builtin_clz(rows)); }
};

// Brings a counter of `levels` levels into planes with weights 1, 2, 4, ..., one after the other.
inline void Settle(uint8_t* counter, uint32_t portions, size_t levels) {
  V carry = V::Zero();
  for (size_t l = kBitslicedFirstLevels; l < levels; ++l, portions >>= 1) {
    const uint8_t* level = UpperLevel(counter, l);
    V sum = portions > 1 ? V::Load(level) : V::Zero();
    carry = (portions & 1) != 0 ? FullAdd(&sum, V::Load(level + kBitslicedPlane), carry) : HalfAdd(&sum, carry);
    sum.Store(counter + l * kBitslicedPlane);
  }
}

inline uint32_t Magnitude(int32_t v) { return static_cast<uint32_t>(v < 0 ? -v : v); }

// A number per output, in planes with weights 1, 2, 4, ...
struct Number {
  V planes[kBitslicedSumBits];
  size_t used = 0;    // planes from here on are zero
  uint64_t most = 0;  // what no output exceeds

  // Adds the number of `count` planes, plane(i) being number i, that no output of `other_most` exceeds, times 2^shift.
  template <typename Plane>
  void Add(const Plane& plane, size_t count, uint64_t other_most, size_t shift) {
    if (count == 0) return;
    most += other_most << shift;
    for (; (most >> used) != 0; ++used) planes[used] = V::Zero();
    V carry = HalfAdd(&planes[shift], plane(0));
    for (size_t i = 1; i < count; ++i) carry = FullAdd(&planes[shift + i], plane(i), carry);
    for (size_t c = shift + count; c < used; ++c) carry = HalfAdd(&planes[c], carry);
  }
};

// What is added up for the buckets of one sign: counts, each shifted by a bit of its bucket's magnitude.
struct Shifts {
  struct Shift {
    uint8_t bucket, bit;
  } shifts[255 * kBitslicedMagnitudeBits];
  size_t count = 0;

  Shifts(const BitslicedCall& call, const Seen* seen, bool is_negative) {
    // Low bits first: there are few planes yet that a carry could run through.
    for (size_t bit = 0; bit < kBitslicedMagnitudeBits; ++bit) {
      for (size_t b = 0; b < call.buckets; ++b) {
        const int32_t magnitude = call.magnitudes[b];
        if ((magnitude < 0) != is_negative || ((Magnitude(magnitude) >> bit) & 1) == 0 || seen[b].rows == 0) continue;
        shifts[count++] = {static_cast<uint8_t>(b), static_cast<uint8_t>(bit)};
      }
    }
  }
};

// Writes half of 2^n times the results to `to`, as planes of two's complement; returns how many.
template <int kBits>
size_t SumBuckets(const BitslicedCall& call, const Seen* seen, uint8_t* to) {
  constexpr size_t kBucket = BitslicedCounterBytes(kBits);
  size_t count = 0;
  const Shifts of_sign[2] = {{call, seen, false}, {call, seen, true}};
  for (size_t at = 0; at < kBitslicedPlane; at += sizeof(V)) {
    Number totals[2];  // what is subtracted, what is added
    for (size_t mask = 0; mask < (size_t{1} << kBits); ++mask) {
      uint8_t* counter = call.counters + mask * kBitslicedCounter * kBitslicedPlane + at;
      for (size_t b = 0; b < call.buckets; ++b) Settle(counter + b * kBucket, seen[b].portions, seen[b].Levels());
      const int32_t factor = call.transform[mask];
      for (size_t negative = 0; negative < 2; ++negative) {
        const Shifts& shifts = of_sign[negative];
        if (shifts.count == 0) continue;
        Number sum;
        for (size_t s = 0; s < shifts.count; ++s) {
          const Seen& rows = seen[shifts.shifts[s].bucket];
          const uint8_t* planes = counter + shifts.shifts[s].bucket * kBucket;
          sum.Add([&](size_t i) { return V::Load(planes + i * kBitslicedPlane); }, rows.Levels(), rows.rows,
                  shifts.shifts[s].bit);
        }
        Number& total = totals[(factor < 0) != (negative == 1) ? 1 : 0];
        for (uint32_t bits = Magnitude(factor); bits != 0; bits &= bits - 1) {
          total.Add([&](size_t i) { return sum.planes[i]; }, sum.used, sum.most,
                    static_cast<size_t>(__builtin_ctz(bits)));
        }
      }
    }
    // Added minus subtracted, in two's complement: a - b = ~(~a + b).
    const size_t used = totals[0].used > totals[1].used ? totals[0].used : totals[1].used;
    V carry = V::Zero();
    for (size_t i = 0; i <= used; ++i) {
      V sum = ~(i < totals[1].used ? totals[1].planes[i] : V::Zero());
      carry = FullAdd(&sum, i < totals[0].used ? totals[0].planes[i] : V::Zero(), carry);
      (~sum).Store(to + i * kBitslicedPlane + at);
    }
    count = used + 1;  // the same at every `at`
  }
  return count;
}

template <int kBits>
void CountOf(const BitslicedCall& call) {
  Seen seen[256];
  uint32_t begin = 0;
  for (size_t b = 0; b < call.buckets; ++b) {
    uint8_t* counters = call.counters + b * BitslicedCounterBytes(kBits);
    const uint32_t end = call.ends[b];
    seen[b] = {end - begin, 0};
    while (begin < end) {
      const uint32_t count = end - begin < kPortion ? end - begin : static_cast<uint32_t>(kPortion);
      CountMasks<kBits>(call.planes, call.rows + begin, count / kGroup, seen[b].portions++, counters);
      begin += count;
    }
  }
  uint8_t* planes = call.counters + call.buckets * BitslicedCounterBytes(kBits);
  const size_t count = SumBuckets<kBits>(call, seen, planes);
  const auto weight = [=](size_t plane) {
    return (plane + 1 < count ? int64_t{1} : int64_t{-1}) * (int64_t{1} << plane);
  };
  // Exact multiples of 2^(n - 1).
  if (call.narrow != nullptr) {
    uint32_t weights[kBitslicedSumBits + 1];
    for (size_t i = 0; i < count; ++i) weights[i] = static_cast<uint32_t>(weight(i));
    SumWhereSet(planes, weights, count, reinterpret_cast<uint32_t*>(call.narrow));
    for (size_t o = 0; o < kBitslicedOutputs; ++o) call.narrow[o] >>= kBits - 1;
  } else {
    for (size_t o = 0; o < kBitslicedOutputs; ++o) {
      int64_t sum = 0;
      for (size_t i = 0; i < count; ++i) {
        sum += ((planes[i * kBitslicedPlane + o / 8] >> (o % 8)) & 1) != 0 ? weight(i) : 0;
      }
      call.wide[o] = sum >> (kBits - 1);
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
