#include "backends/onednn/library.h"

#include <exception>
#include <new>

#include "absl/strings/str_cat.h"
#include "format/error.h"

// Of the OpenMP runtime that oneDNN is linked with. Declared here because clang ships no omp.h without its own runtime,
// and a second runtime would have threads of its own.
extern "C" {
int omp_get_max_threads(void);
void omp_set_num_threads(int count);
}

namespace tally::onednn {
namespace {

absl::Status StatusOf(dnnl_status_t status, const char* what) {
  if (status == dnnl_success) return absl::OkStatus();
  if (status == dnnl_out_of_memory) return MakeError(ErrorId::kOutOfMemory, absl::StrCat("oneDNN: ", what));
  return MakeError(ErrorId::kBackendFailed, absl::StrCat("oneDNN: ", what, " (status ", static_cast<int>(status), ")"));
}

}  // namespace

absl::Status StatusOfCurrentException() {
  try {
    throw;
  } catch (const dnnl::error& e) {
    return StatusOf(e.status, e.message);
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorId::kOutOfMemory, "oneDNN backend");
  } catch (const std::exception& e) {
    return MakeError(ErrorId::kBackendFailed, absl::StrCat("oneDNN backend: ", e.what()));
  } catch (...) {
    return MakeError(ErrorId::kBackendFailed, "oneDNN backend: unknown exception");
  }
}

std::string LibraryVersion() {
  const dnnl_version_t* v = dnnl_version();
  return absl::StrCat("oneDNN ", v->major, ".", v->minor, ".", v->patch);
}

std::string EffectiveIsaName() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41: return "sse41";
    case dnnl::cpu_isa::avx: return "avx";
    case dnnl::cpu_isa::avx2: return "avx2";
    case dnnl::cpu_isa::avx2_vnni: return "avx2_vnni";
    case dnnl::cpu_isa::avx512_core: return "avx512_core";
    case dnnl::cpu_isa::avx512_core_vnni: return "avx512_core_vnni";
    case dnnl::cpu_isa::avx512_core_bf16: return "avx512_core_bf16";
    case dnnl::cpu_isa::avx512_core_amx: return "avx512_core_amx";
    default: return "generic";
  }
}

bool HasExactU8Products() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::avx2_vnni:
    case dnnl::cpu_isa::avx512_core_vnni:
    case dnnl::cpu_isa::avx512_core_bf16:
    case dnnl::cpu_isa::avx512_core_amx: return true;
    default: return false;
  }
}

ScopedThreads::ScopedThreads(int count) : saved_(omp_get_max_threads()) {
  if (saved_ != count) omp_set_num_threads(count);
}

ScopedThreads::~ScopedThreads() {
  if (omp_get_max_threads() != saved_) omp_set_num_threads(saved_);
}

dnnl::primitive_attr UserScratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

Executable::Executable(const dnnl::primitive& primitive, const dnnl::primitive_desc_base& description,
                       const std::vector<Argument>& arguments, const dnnl::engine& engine)
    : primitive_(primitive),
      scratchpad_bytes_(description.scratchpad_desc().get_size()),
      implementation_(description.impl_info_str()) {
  const auto add = [&](const Argument& a) {
    memories_.push_back(dnnl::memory(a.layout, engine, const_cast<void*>(a.data)));
    arguments_.push_back({a.index, memories_.back().get()});
  };
  for (const Argument& a : arguments) add(a);
  add({DNNL_ARG_SCRATCHPAD, description.scratchpad_desc(), nullptr});
}

absl::Status Executable::Bind(size_t i, const void* data) {
  return StatusOf(dnnl_memory_set_data_handle(arguments_[i].memory, const_cast<void*>(data)), "cannot bind memory");
}

absl::Status Executable::Execute(const dnnl::stream& stream, uint8_t* scratchpad) {
  TALLY_RETURN_IF_ERROR(Bind(arguments_.size() - 1, scratchpad));
  TALLY_RETURN_IF_ERROR(StatusOf(
      dnnl_primitive_execute(primitive_.get(), stream.get(), static_cast<int>(arguments_.size()), arguments_.data()),
      "cannot run a primitive"));
  return StatusOf(dnnl_stream_wait(stream.get()), "cannot wait");
}

AlignedBuffer ReorderWeights(const dnnl::memory::desc& from, const void* data, const dnnl::memory::desc& to,
                             const dnnl::engine& engine, dnnl::stream stream) {
  AlignedBuffer buffer(to.get_size());
  dnnl::memory source(from, engine, const_cast<void*>(data));
  dnnl::memory target(to, engine, buffer.data());
  dnnl::reorder(source, target).execute(stream, source, target);
  stream.wait();
  return buffer;
}

}  // namespace tally::onednn
