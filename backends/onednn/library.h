// What this folder needs of oneDNN itself: primitives that run without allocating objects of ours, the pinning of its
// OpenMP threads, and the one place where its exceptions and status codes become absl::Status.
#ifndef TALLY_BACKENDS_ONEDNN_LIBRARY_H_
#define TALLY_BACKENDS_ONEDNN_LIBRARY_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "oneapi/dnnl/dnnl.hpp"
#include "runtime/core/aligned_buffer.h"

namespace tally::onednn {

// The status of the exception being handled. REQUIRES: called from a catch block.
absl::Status StatusOfCurrentException();

// Calls fn, which returns a status or a StatusOr and may throw.
template <typename Fn>
auto Guarded(const Fn& fn) -> decltype(fn()) {
  try {
    return fn();
  } catch (...) {
    return StatusOfCurrentException();
  }
}

// "oneDNN 2.6.3".
std::string LibraryVersion();

// The instruction set that oneDNN uses, which ONEDNN_MAX_CPU_ISA may cap: "avx512_core_vnni", ...
std::string EffectiveIsaName();

// Whether its u8 x s8 products are exact for every u8; without VNNI sums of two products saturate at 2^15 - 1.
bool HasExactU8Products();

// Holds oneDNN's OpenMP threads to `count` for the calling thread; one thread opens no parallel region at all.
// Primitives must be created and run under the same count, because scratch sizes depend on it.
class ScopedThreads {
 public:
  explicit ScopedThreads(int count);
  ~ScopedThreads();
  ScopedThreads(const ScopedThreads&) = delete;
  ScopedThreads& operator=(const ScopedThreads&) = delete;

 private:
  int saved_;
};

// Attributes of every primitive here: the caller provides the scratchpad.
dnnl::primitive_attr UserScratchpad();

struct Argument {
  int index;  // DNNL_ARG_*
  dnnl::memory::desc layout;
  const void* data;  // may be bound later; the caller keeps it alive
};

// One primitive with its arguments. Run by one thread at a time.
class Executable {
 public:
  // The scratchpad is added to the arguments.
  Executable(const dnnl::primitive& primitive, const dnnl::primitive_desc_base& description,
             const std::vector<Argument>& arguments, const dnnl::engine& engine);

  // Binds the data of argument `i` of the constructor's list; stays bound.
  absl::Status Bind(size_t i, const void* data);
  absl::Status Execute(const dnnl::stream& stream, uint8_t* scratchpad);

  size_t scratchpad_bytes() const { return scratchpad_bytes_; }
  const std::string& implementation() const { return implementation_; }  // "jit_int8:avx512_core_vnni"

 private:
  dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
  size_t scratchpad_bytes_;
  std::string implementation_;
};

// Reorders plain weights into the layout that a primitive asks for.
AlignedBuffer ReorderWeights(const dnnl::memory::desc& from, const void* data, const dnnl::memory::desc& to,
                             const dnnl::engine& engine, dnnl::stream stream);

}  // namespace tally::onednn

#endif  // TALLY_BACKENDS_ONEDNN_LIBRARY_H_
