// The converter's job: a float graph and calibration data in, a graph with codebooks, codes and a report out.
#ifndef TALLY_CONVERTER_CONVERT_H_
#define TALLY_CONVERTER_CONVERT_H_

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/calibration/dataset.h"
#include "converter/calibration/evaluate.h"
#include "converter/search/distribution.h"
#include "format/graph.h"
#include "runtime/backend/registry.h"

namespace tally {

enum class Strategy { kJoint, kDnateq };
enum class GridChoice { kAuto, kQ7, kQ14, kReal };
enum class Granularity { kChannel, kTensor };
enum class Levels { kExponential, kUniform };
enum class Rounding { kNearest, kCompensated };

struct ConvertOptions {
  Strategy strategy = Strategy::kJoint;
  // Uniform levels in the same format, by the same search: what exponents are compared with. With strategy joint.
  Levels levels = Levels::kExponential;
  GridChoice grid = GridChoice::kAuto;
  // Of weights. Compensated: so that the layer's output errs least on the calibration data, layer after layer; needs a
  // backend that runs codes and strategy joint, with which it is the default.
  std::optional<Rounding> rounding;
  EncodeRule encode_rule = EncodeRule::kNearest;
  Granularity granularity = Granularity::kChannel;
  // Scale channels across layers where that pays on calibration data (converter/search/equalize.h). With strategy
  // joint.
  bool equalize = false;
  std::optional<bool> shared_base;  // unset: on for the real grid, else off
  // Stored bits. At most one kind of goal: fixed bits, max_drop, or target bits (the default, 4 and +2).
  std::optional<int> weight_bits, activation_bits;
  std::optional<double> max_drop;  // absolute points below the float model, 100 r of correlations
  std::optional<double> target_bits, activation_target_bits;
  std::optional<uint64_t> target_size;
  bool keep_int8 = false;
  bool keep_float = false;
  int golden_cases = 2;  // calibration samples stored with the outputs that exact backends must give
  // So many points of the front, evenly spaced, are built and scored for the report; the model does not depend on it.
  int front_points = 0;
  // Folder where finished steps of the search are kept and looked for; empty: none. With another goal, what both have
  // in common is not done again.
  std::string resume;
  uint64_t seed = 1;
  int num_threads = 0;
  std::string float_backend = "xnnpack";
  std::string tool_version;
  // Called with a phase's name and its share done, 0..1.
  std::function<void(const std::string& phase, double done)> progress;
};

// What was chosen for one tensor, and why.
struct TensorReport {
  std::string tensor;
  std::string node;  // producer (activation) or user (weight)
  bool is_weight = false;
  int64_t elements = 0;
  Codebook codebook;  // exponent_bits == 0: left in float32
  double rmae = 0, rmae_uniform_max = 0, rmae_uniform_clipped = 0;
  std::string reason;
  // Squared error of the network's output, relative to it, with this tensor alone quantized: by stored bits, measured
  // in the middle of the range and estimated elsewhere. Empty: not measured.
  std::map<int, double> output_errors;
  Distribution distribution;    // of the values before they were quantized
  bool channel_scales = false;  // that the codebook is relative to
};

struct ConvertReport {
  std::vector<TensorReport> tensors;
  std::string metric;
  double float_value = 0, quantized_value = 0;  // on the selection data; 0 samples: not measured; NaN: undefined
  int64_t selection_samples = 0;
  PairedDrop drop;  // from float to quantized
  std::optional<PairedDrop> expected_drop;
  double weight_bits_mean = 0, weight_exponent_bits_mean = 0, activation_bits_mean = 0;
  bool goal_reached = true;  // false: max_drop is out of reach, and this is the best point
  // Points of the network-level search: the largest RMAE of a weight, mean bits, metric.
  struct Step {
    double threshold = 0, weight_bits = 0, activation_bits = 0, value = 0;
    PairedDrop drop;
    std::optional<PairedDrop> expected_drop;
  };
  std::vector<Step> steps;
  // The least estimated error of the output (the sum over all weights) by mean stored bits of the weights.
  struct FrontPoint {
    double weight_bits = 0, error = 0;
    std::vector<int> stored_bits;  // of each weight, in the order of `tensors`
  };
  std::vector<FrontPoint> front;
};

struct ConvertResult {
  Graph graph;
  ConvertReport report;
};

// kUsage for options that contradict each other. Convert asks it first.
absl::Status CheckOptions(const ConvertOptions& options);

// `graph` comes from ImportOnnx and RunPasses. `eval` may be null (then the calibration labels serve, else agreement
// with the float model). kUndefinedMetric when the float model's own metric is.
absl::StatusOr<ConvertResult> Convert(const Graph& graph, const Dataset& calibration, const Dataset* eval,
                                      const ConvertOptions& options, const Registry& registry);

// Means as docs/numerics.md defines them, of a converted graph; used by `inspect` and the report.
struct BitStatistics {
  double weight_stored_bits = 0, weight_exponent_bits = 0;
  uint64_t weight_elements = 0, weight_bytes = 0;  // bytes include channel scales
  double activation_stored_bits = 0;
};
// `extents`: by symbol; left out, those that the converter recorded.
absl::StatusOr<BitStatistics> ComputeBitStatistics(const Graph& graph, const std::vector<int64_t>& extents);
absl::StatusOr<BitStatistics> ComputeBitStatistics(const Graph& graph);

std::string ReportJson(const ConvertReport& report, const ConvertOptions& options);

}  // namespace tally

#endif  // TALLY_CONVERTER_CONVERT_H_
