// Uninitialised heap memory at 64-byte alignment with 64 readable bytes behind it, because vector kernels (ours and
// XNNPACK's) read past the last element. Large buffers ask for huge pages: a stream of weights then misses the TLB once
// in 2 MiB. Move-only.
#ifndef TALLY_RUNTIME_CORE_ALIGNED_BUFFER_H_
#define TALLY_RUNTIME_CORE_ALIGNED_BUFFER_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace tally {

inline constexpr size_t kAlignment = 64;
inline constexpr size_t kSlack = 64;
inline constexpr size_t kHugePage = size_t{2} << 20;

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // Throws std::bad_alloc, which the public entries turn into a status. The slack is zeroed, the rest is not.
  explicit AlignedBuffer(size_t size) : size_(size) {
    const size_t alignment = size >= kHugePage ? kHugePage : kAlignment;
    const size_t rounded = (size + kSlack + alignment - 1) / alignment * alignment;
    void* p = rounded < size ? nullptr : std::aligned_alloc(alignment, rounded);
    if (p == nullptr) throw std::bad_alloc();
    // A wish: where the system has no huge pages, nothing changes. The rest of the last one would be memory for
    // nothing.
    if (alignment == kHugePage) madvise(p, size / kHugePage * kHugePage, MADV_HUGEPAGE);
    data_.reset(static_cast<uint8_t*>(p));
    std::memset(data_.get() + size, 0, kSlack);
  }

  uint8_t* data() const { return data_.get(); }
  size_t size() const { return size_; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_.get());
  }

 private:
  struct Free {
    void operator()(uint8_t* p) const { std::free(p); }
  };
  std::unique_ptr<uint8_t, Free> data_;
  size_t size_ = 0;
};

}  // namespace tally

#endif  // TALLY_RUNTIME_CORE_ALIGNED_BUFFER_H_
