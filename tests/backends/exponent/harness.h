// Builds single nodes with random codes and runs them on a backend without a session.
#ifndef TALLY_TESTS_BACKENDS_EXPONENT_HARNESS_H_
#define TALLY_TESTS_BACKENDS_EXPONENT_HARNESS_H_

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/exponent/exponent.h"
#include "format/graph.h"
#include "runtime/backend/backend.h"

namespace tally::testing {

using Rng = std::mt19937;

// One of 0 .. n - 1.
inline size_t Pick(Rng& rng, size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(rng); }

// A valid codebook with random mantissas (or magnitudes); `extreme`: all mantissas are the largest.
Codebook RandomCodebook(Rng& rng, int exponent_bits, bool is_signed, Grid grid, bool extreme = false);
Codebook RandomCodebook(Rng& rng);  // n, sign and grid (q7, q14) at random

enum class Fill { kRandom, kZero, kLargest, kLargestNegative };
std::vector<uint8_t> RandomCodes(Rng& rng, const Codebook& book, size_t count, Fill fill = Fill::kRandom);

// Each in -2 .. 2.
std::vector<float> RandomFloats(Rng& rng, size_t count);

// A node with everything that running it takes.
class NodeCase {
 public:
  // Appends an input that reaches the node as codes, one byte each.
  void AddCodes(const Codebook& book, const Shape& shape, std::vector<uint8_t> codes);
  void AddWeight(const Codebook& book, const Shape& shape, const std::vector<uint8_t>& codes,
                 std::vector<float> channel_scales = {});
  void AddFloat(const Shape& shape, std::vector<float> values);
  void AddAbsent();
  void SetOutput(const Shape& shape);

  Node& node() { return graph_.nodes[0]; }
  Graph& graph() { return graph_; }
  explicit NodeCase(const std::string& op);

  NodeContext Context(const CpuFeatures& cpu, int num_threads) const;

  struct Result {
    absl::Status status;
    std::vector<float> output;
    std::string kernel;
    std::string isa;
  };
  // Compiles and runs twice (the second result must equal the first). Inputs lie in allocations of their exact size at
  // `misalignment` bytes from a boundary; scratch is exact and full of garbage.
  Result Run(const Backend& backend, const CpuFeatures& cpu, int num_threads, size_t misalignment = 0) const;

 private:
  struct Input {
    std::vector<uint8_t> bytes;
    bool present = false;
  };
  Graph graph_;
  std::vector<TensorType> types_;
  TensorType output_;
  std::vector<Input> inputs_;
};

// Every instruction set of the kernels in this build; those that this CPU lacks are printed and left out.
std::vector<CpuFeatures> RunnableCpus();
std::string CpuName(const CpuFeatures& cpu);

// Runs `c` on the exponent backend, with kernels of one family if asked for, on every ISA with one thread, and on one
// of them with two or three, and expects the histogram's bits.
void ExpectMatchesHistogram(const NodeCase& c, const std::string& what, ExponentKernel kernel = ExponentKernel::kAuto);

}  // namespace tally::testing

#endif  // TALLY_TESTS_BACKENDS_EXPONENT_HARNESS_H_
