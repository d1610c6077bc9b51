// What the nodes on look-up kernels share: digits, segments of k, and the loop that turns panels into exact sums.
#ifndef TALLY_BACKENDS_EXPONENT_LOOKUP_PRODUCT_H_
#define TALLY_BACKENDS_EXPONENT_LOOKUP_PRODUCT_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/exponent/exponent.h"
#include "backends/exponent/kernels/lookup/lookup_table.h"
#include "backends/exponent/parts.h"
#include "runtime/dot/problem.h"
#include "runtime/ops/row_table.h"

namespace tally {

// One factor as digits: a table per digit, low digit first.
struct Digits {
  Digits(const Codebook& book, int signed_offset);
  int count;
  LookupTable table[2];
};

// How a product of two code matrices is computed. Every pair of digits and every segment of k is one *term*, an int32
// sum; several terms add up in int64, each shifted by 7 bits per high digit.
struct Product {
  // `weight_sum`: an upper bound of sum |digit| over k of any one output's weights, which decides whether k must be
  // split for the int32 accumulators.
  // Lanes and rows are panels until the last two fields say otherwise.
  Product(const LookupKernel& kernel, const Problem& problem, size_t groups, bool acts_in_lanes, uint64_t weight_sum);

  const LookupKernel* kernel;
  size_t groups;          // of 4 along k
  size_t segment_groups;  // whole blocks of row panels
  size_t segments;        // at least 1
  bool acts_in_lanes;
  bool act_signed;
  int act_digits;
  int weight_digits;
  std::vector<size_t> lane_offsets;         // bytes, per group: LookupTile
  std::vector<size_t> row_offsets;          // of pixels, per group: LookupTile; empty: row panels
  const LookupTable* lane_table = nullptr;  // LookupTile::table
  // With row_offsets and one segment: how many groups of a tile at the left edge of an image begin with zeros, and how
  // many of one at the right edge end with zeros; the first groups and the last ones.
  size_t left_zeros = 0, right_zeros = 0;

  bool wide() const { return act_digits * weight_digits > 1 || segments > 1; }
  bool offset() const { return act_signed && kernel->signed_offset != 0; }
  size_t lane_panel_bytes() const { return groups * kLookupGroupBytes; }
  // Of a stream whose last one may be filled up with zeros.
  size_t units() const { return (groups + kLookupUnitGroups - 1) / kLookupUnitGroups; }
  size_t row_panel_bytes(size_t rows) const { return (groups + 3) / 4 * rows * 16; }  // without slack
  size_t segment_begin(size_t s) const { return s * segment_groups; }
  size_t segment_size(size_t s) const {
    const size_t begin = segment_begin(s);
    return groups - begin < segment_groups ? groups - begin : segment_groups;
  }
};

// What to add to the sums of signed activations stored with offset: -128 * sum of the weight digits, modulo 2^32, per
// weight digit, segment and output. Null values: nothing.
struct Correction {
  const int32_t* values = nullptr;
  size_t digit_step = 0;
  size_t segment_step = 0;
  size_t row_step = 0;   // 1 where rows are outputs
  size_t lane_step = 0;  // 1 where lanes are outputs
};

// Rows of sums, `stride` apart; `wide` is used when product.wide().
struct Sums {
  int32_t* narrow = nullptr;
  int64_t* wide = nullptr;
  size_t stride = 0;
};

// Memory for the sums of a tile.
struct TileSums {
  static constexpr size_t kSize = kLookupPanelRows * kLookupLanes;
  alignas(64) int32_t narrow[kSize];
  alignas(64) int64_t wide[kSize];
  Sums sums() { return {narrow, wide, kLookupLanes}; }
};

// What becomes of a tile's sums: in the kernel where it can, else from the sums.
class TileFinish {
 public:
  // `row`: scale and bias of the first row (by_row) or of the first lane. Results of successive rows are `out_stride`
  // apart.
  TileFinish(const EpilogueRow& row, bool by_row, size_t out_stride);
  // Adds a run, one of up to two: the results of lanes first .. first + count - 1 go to `out`. `residual`: like `out`,
  // if there is one.
  void AddRun(size_t first, size_t count, float* out, const float* residual);
  // The results of the only run, without residual, go so many rows further on.
  void MoveDown(size_t rows) { call_.out[0] += rows * call_.out_stride; }
  bool is_full() const { return runs_ == 2; }

  // For a kernel; Activate follows. `correction`: null, or like scale and bias.
  const LookupFinish& InKernel(const int32_t* correction);
  // What of the activation function the kernel left; `blocks` of 32 lanes beside each other.
  void Activate(size_t rows, size_t blocks = 1) const;
  void FromSums(const Product& product, const RowKernels& row_kernels, const Sums& sums, size_t rows) const;

 private:
  EpilogueRow row_;
  bool by_row_;
  bool is_clamp_;
  int runs_ = 0;
  size_t first_[2], count_[2];
  LookupFinish call_;
};

// Adds `value` modulo 2^32.
inline int32_t WrappingAdd(int32_t a, int32_t b) {
  return static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b));
}

// Whether kernels can finish what they sum up.
inline bool FinishesInKernel(const Product& product) { return product.kernel->finishes && !product.wide(); }

// Where a tile of pixels begins and ends.
struct Edges {
  bool left = false, right = false;  // of the image
};

// sums[r][lane] of one tile, of up to 32 lanes; operands by digit. Writes whole multiples of 16 lanes.
void Multiply(const Product& product, const uint8_t* const* lane_bytes, size_t lanes, const uint8_t* const* row_panels,
              size_t rows, const Correction& correction, const Sums& sums, Edges edges = {});
// The same, and its results; for several tiles beside each other, if MayRepeat.
void MultiplyAndFinish(const Product& product, const RowKernels& row_kernels, const uint8_t* const* lane_bytes,
                       size_t lanes, const uint8_t* const* row_panels, size_t rows, const Correction& correction,
                       TileFinish* finish, size_t tiles = 1, Edges edges = {});
// Whether tiles of 32 lanes whose results are beside each other can be computed at once.
inline bool MayRepeat(const Product& product, const Correction& correction, const EpilogueRow& row) {
  return FinishesInKernel(product) && product.acts_in_lanes && correction.values == nullptr && row.residual == nullptr;
}

// Adds one term to wide sums: wide[i] = (first ? 0 : wide[i]) + term[i] * 2^shift.
void AddTerm(const int32_t* term, size_t count, int shift, bool first, int64_t* wide);

// acc[i] += values[i], modulo 2^32.
void AddCorrection(const int32_t* values, size_t count, int32_t* acc);

// block.acc_stride is that of the sums.
void FinishSums(const Product& product, const RowKernels& row_kernels, const Sums& sums, size_t count,
                EpilogueBlock block, float* out);

// Rows of weight codes, one code a byte, by output.
class WeightRows {
 public:
  explicit WeightRows(const Problem& problem);
  // The k codes of output o; valid until the next call.
  const uint8_t* Read(size_t o);
  // max over outputs and digits of sum |digit|.
  uint64_t MaxDigitSum();

 private:
  const Problem& problem_;
  std::vector<uint8_t> row_;
};

// The -128 * sums of `count` weight codes in consumption order (4 a group), added to values[] at the given index.
void AddCorrections(const Product& product, const Digits& weights, const uint8_t* codes, size_t first_group,
                    size_t groups, size_t digit_step, size_t segment_step, int32_t* values);

// Copies `groups` * 4 digits of row `row` into a row panel of `rows` rows and blocks of `row_groups` groups. `digits`
// is readable to a multiple of 16.
void FillPanelRow(const uint8_t* digits, size_t groups, size_t row, size_t rows, size_t row_groups, uint8_t* panel);

// Base of the nodes on look-up kernels.
class LookupNode : public CompiledNode {
 public:
  Encoding input_encoding(size_t i) const override {
    const bool codes = i == 0 || (i == 1 && problem_.kind == Problem::Kind::kMatMul);
    return codes ? Encoding::kCodes : Encoding::kPlain;
  }
  size_t scratch_bytes() const override { return plan_.total(); }
  std::string isa() const override { return IsaName(entry_.isa); }

 protected:
  LookupNode(Problem problem, const NodeContext& context, size_t parts)
      : problem_(std::move(problem)),
        entry_(ChooseKernel(LookupKernels(), context.cpu)),
        row_kernels_(*ChooseKernel(RowKernelTable(), context.cpu).kernel),
        parts_(parts),
        a_digits_(problem_.a, entry_.kernel->signed_offset),
        w_digits_(problem_.w, 0) {}

  // Codes of the activations and where the result goes.
  static const uint8_t* Codes(const RunArgs& args, size_t i) { return static_cast<const uint8_t*>(args.inputs[i]); }
  static float* Output(const RunArgs& args) { return static_cast<float*>(args.outputs[0]); }
  const LookupKernel& kernel_table() const { return *entry_.kernel; }

  Problem problem_;
  IsaEntry<LookupKernel> entry_;
  const RowKernels& row_kernels_;
  size_t parts_;  // threads
  Digits a_digits_;
  Digits w_digits_;
  ScratchPlan plan_;
};

// Compile a Gemm, MatMul, Conv on an integer grid.
absl::StatusOr<std::unique_ptr<CompiledNode>> CompileLookupGemm(Problem problem, const NodeContext& context,
                                                                const ExponentOptions& options);
absl::StatusOr<std::unique_ptr<CompiledNode>> CompileLookupMatMul(Problem problem, const NodeContext& context,
                                                                  const ExponentOptions& options);
absl::StatusOr<std::unique_ptr<CompiledNode>> CompileLookupConv(Problem problem, const NodeContext& context,
                                                                const ExponentOptions& options);

}  // namespace tally

#endif  // TALLY_BACKENDS_EXPONENT_LOOKUP_PRODUCT_H_
