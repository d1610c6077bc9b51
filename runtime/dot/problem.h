// A dot-product node on codes in one resolved form: geometry, codebooks, epilogue. What MakeProblem refuses, every
// backend that counts codes refuses. A plain value.
#ifndef TALLY_RUNTIME_DOT_PROBLEM_H_
#define TALLY_RUNTIME_DOT_PROBLEM_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "format/graph.h"
#include "runtime/backend/backend.h"
#include "runtime/ops/epilogue.h"
#include "runtime/ops/window.h"

namespace tally {

// Batch dimensions of a MatMul, broadcast: matrix b of the output is the product of matrix AOffset(b) of the first
// input and BOffset(b) of the second.
struct MatrixBatch {
  std::vector<int64_t> extents;    // of the output
  std::vector<int64_t> a_strides;  // in matrices; 0 where the input is broadcast
  std::vector<int64_t> b_strides;

  size_t count() const;
  size_t AOffset(size_t index) const { return Offset(index, a_strides); }
  size_t BOffset(size_t index) const { return Offset(index, b_strides); }

 private:
  size_t Offset(size_t index, const std::vector<int64_t>& strides) const;
};

// What follows the dot products of a node. Inputs 2 and 3 of Conv and Gemm are bias and residual.
struct Epilogue {
  // One per output channel; for MatMul a single one. On the real grid the channel scales, or empty when there are none.
  std::vector<float> scales;
  std::vector<float> code_bias;  // of the codes, in place of input 2; empty: none
  bool has_bias = false;         // input 2
  bool has_residual = false;
  Activation activation;

  // A row of one channel's outputs (step 0) or of outputs of successive channels (step 1), from channel `first` and
  // element `element` of the output on.
  EpilogueRow Row(const RunArgs& args, size_t first, size_t step, size_t element) const;
};

struct Problem {
  enum class Kind : uint8_t { kConv, kGemm, kMatMul };
  Kind kind = Kind::kGemm;
  Codebook a;                         // of the activations (input 0)
  Codebook w;                         // of the weights; MatMul: of input 1
  const CodeForm* weights = nullptr;  // Conv, Gemm; lives as long as the graph, so only Compile may use it
  Window2d window;                    // Conv
  // Gemm: y[rows, outputs] over k. MatMul: the same for each matrix of `batch`.
  size_t rows = 0;
  size_t outputs = 0;
  size_t k = 0;
  MatrixBatch batch;
  Epilogue epilogue;
  bool is_empty = false;  // the output has no elements: nothing to do

  double products() const;  // of one run

  bool is_real() const { return a.grid == Grid::kReal || w.grid == Grid::kReal; }
};

// Error: kUnsupportedNode with the reason, shown to users.
absl::StatusOr<Problem> MakeProblem(const NodeContext& context);

}  // namespace tally

#endif  // TALLY_RUNTIME_DOT_PROBLEM_H_
