// The implementations that are compared, each with its weights in as many copies as the measurement wants.
#ifndef TALLY_BENCH_LAYERS_CANDIDATE_H_
#define TALLY_BENCH_LAYERS_CANDIDATE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/layers/layer.h"
#include "runtime/core/cpu.h"
#include "runtime/core/thread_pool.h"

namespace tally::bench {

class Candidate {
 public:
  virtual ~Candidate() = default;
  // Computes the layer with copy `copy` of the weights.
  virtual absl::Status Run(size_t copy) = 0;
  // Compares the outputs of the last run with the right ones.
  virtual absl::Status Check() const = 0;

  virtual std::string backend() const = 0;
  virtual std::string kernel() const = 0;
  virtual std::string isa() const = 0;
  virtual std::string why() const { return ""; }  // this kernel, where there was a choice
  virtual size_t copies() const = 0;
  virtual size_t resident_weight_bytes() const = 0;  // of one copy
  // What one run reads and writes at least: weights, inputs, outputs.
  virtual size_t bytes_moved() const = 0;
};

struct CandidateSpec {
  std::string backend;  // as typed
  std::string kernel = "auto";
  CpuFeatures cpu;
  std::shared_ptr<ThreadPool> pool;
  // Copies of the weights: as many as fill this, at least one.
  size_t weight_bytes = 0;
};

// Names that MakeCandidate takes, in the order of reports.
std::vector<std::string> CandidateNames();

// Errors: kUsage for an unknown name; why the candidate does not take the layer (kUnsupportedNode).
absl::StatusOr<std::unique_ptr<Candidate>> MakeCandidate(const Layer& layer, const CandidateSpec& spec);

// By library; kUnsupportedNode where the build lacks it. `quantized`: 8-bit, else float32.
absl::StatusOr<std::unique_ptr<Candidate>> MakeOneDnnCandidate(const Layer& layer, const CandidateSpec& spec);
absl::StatusOr<std::unique_ptr<Candidate>> MakeXnnpackCandidate(const Layer& layer, const CandidateSpec& spec,
                                                                bool quantized);

// How many copies of `one` bytes fill `bytes`, at least one.
inline size_t CopyCount(size_t bytes, size_t one) { return bytes == 0 || one == 0 ? 1 : (bytes + one - 1) / one; }

}  // namespace tally::bench

#endif  // TALLY_BENCH_LAYERS_CANDIDATE_H_
