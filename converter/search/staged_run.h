// Streams one activation after the other, over all samples, of two versions of a network side by side: the float one
// and the one quantized so far. What lies between two visited tensors runs once: values of visited tensors are kept for
// as long as later ones depend on them and a budget of memory allows; beyond it they are computed anew.
#ifndef TALLY_CONVERTER_SEARCH_STAGED_RUN_H_
#define TALLY_CONVERTER_SEARCH_STAGED_RUN_H_

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/calibration/dataset.h"
#include "format/graph.h"
#include "tally/tally.h"

namespace tally {

using SessionMaker = std::function<absl::StatusOr<Session>(const Graph& graph)>;

class StagedRun {
 public:
  // The same tensor of both versions, `count` samples of per_sample() floats each.
  using Body =
      std::function<absl::Status(int64_t first, int64_t count, const float* reference, const float* quantized)>;

  // Visits tensors in the order of `tensors`, which must be one in which the network computes them. `batch` and `types`
  // (one per tensor) say what a run is made of; samples lie outermost in every tensor to visit. Refers to its
  // arguments.
  StagedRun(const Dataset& data, int64_t batch, const std::vector<TensorType>& types, std::vector<int> tensors,
            SessionMaker make_reference, SessionMaker make_quantized, int64_t budget_bytes);

  // `quantized` may have changed since the last visit, but not in what earlier tensors depend on. A tensor may be left
  // out. Errors: those of sessions and of `body`.
  absl::Status Visit(const Graph& reference, const Graph& quantized, int tensor, const Body& body);

  int64_t per_sample(int tensor) const { return types_[static_cast<size_t>(tensor)].elements() / batch_; }

 private:
  using Kept = std::map<int, std::vector<float>>;
  struct Stage;
  absl::StatusOr<Stage> Prepare(const Graph& graph, const Kept& kept, int tensor, const SessionMaker& make) const;
  absl::Status Fill(Stage* stage, const Kept& kept, const Batch& samples, int64_t first, int64_t count) const;
  void Forget(const Graph& graph, Kept* kept) const;

  const Dataset& data_;
  const int64_t batch_;
  const std::vector<TensorType>& types_;
  const std::vector<int> tensors_;
  const SessionMaker make_[2];
  const int64_t budget_;
  size_t next_ = 0;  // in tensors_
  Kept kept_[2];
};

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_STAGED_RUN_H_
