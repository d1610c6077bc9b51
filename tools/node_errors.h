// Where quantization error comes from: values of every node of a session against those of a reference session, on the
// same samples.
//
// Cumulative: the node's output with everything before it running on the session too. Isolated: the node alone, given
// the reference's inputs. Errors are SQNR in dB over all samples (infinity: same bits) and the largest absolute
// difference.
#ifndef TALLY_TOOLS_NODE_ERRORS_H_
#define TALLY_TOOLS_NODE_ERRORS_H_

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/calibration/dataset.h"
#include "tools/common.h"

namespace tally::tools {

// Values of every tensor that is not constant, by name: inputs and what each node gave.
struct Captured {
  TensorType type;
  std::vector<uint8_t> data;
};
using Capture = std::map<std::string, Captured>;

// Runs `batch` and keeps every value. One sample at a time keeps this to the model's activations.
absl::StatusOr<Capture> CaptureRun(Session* session, const Batch& batch);

struct NodeError {
  std::string node;
  std::string op;
  std::string tensor;  // first float output
  double cumulative_db = 0;
  double max_abs = 0;
  std::optional<double> isolated_db;  // of nodes with a codebook; absent: not applicable
};

// One per node with a float output that is not known before the run, in graph order. `reference` and `captures` hold
// one entry per sample.
absl::StatusOr<std::vector<NodeError>> CompareNodes(const Model& model, const std::vector<Capture>& reference,
                                                    const std::vector<Capture>& captures, const SessionSpec& spec,
                                                    int num_threads);

// The first node, in graph order, whose output differs in a bit; absent: none.
struct Divergence {
  std::string node;
  std::string tensor;
  size_t sample = 0;
  double max_abs = 0;
};
std::optional<Divergence> FirstDivergence(const Model& model, const std::vector<Capture>& a,
                                          const std::vector<Capture>& b);

}  // namespace tally::tools

#endif  // TALLY_TOOLS_NODE_ERRORS_H_
