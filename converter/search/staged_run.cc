#include "converter/search/staged_run.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "converter/calibration/batches.h"
#include "converter/search/subgraph.h"
#include "format/error.h"

namespace tally {

// How to get from what is kept to one tensor.
struct StagedRun::Stage {
  std::optional<Session> session;                          // none: the tensor is an input of the network
  std::vector<std::pair<int, std::vector<float>>> inputs;  // from kept values, one batch
  std::vector<std::string> samples;                        // from the data
  std::string name;
  std::vector<float> value;  // of one batch
};

StagedRun::StagedRun(const Dataset& data, int64_t batch, const std::vector<TensorType>& types, std::vector<int> tensors,
                     SessionMaker make_reference, SessionMaker make_quantized, int64_t budget_bytes)
    : data_(data),
      batch_(batch),
      types_(types),
      tensors_(std::move(tensors)),
      make_{std::move(make_reference), std::move(make_quantized)},
      budget_(budget_bytes) {}

absl::StatusOr<StagedRun::Stage> StagedRun::Prepare(const Graph& graph, const Kept& kept, int tensor,
                                                    const SessionMaker& make) const {
  Stage stage;
  stage.name = graph.tensors[static_cast<size_t>(tensor)].name;
  stage.value.resize(static_cast<size_t>(types_[static_cast<size_t>(tensor)].elements()));
  if (std::find(graph.inputs.begin(), graph.inputs.end(), tensor) != graph.inputs.end()) {
    stage.samples.push_back(stage.name);
    return stage;
  }
  std::vector<bool> available(graph.tensors.size());
  for (int t : graph.inputs) available[static_cast<size_t>(t)] = true;
  for (const auto& [t, values] : kept) available[static_cast<size_t>(t)] = true;
  const Cut cut = CutBefore(graph, available, {tensor});
  for (int t : cut.inputs) {
    if (kept.count(t) == 0) {
      stage.samples.push_back(graph.tensors[static_cast<size_t>(t)].name);
    } else {
      stage.inputs.emplace_back(t, std::vector<float>(static_cast<size_t>(types_[static_cast<size_t>(t)].elements())));
    }
  }
  TALLY_ASSIGN_OR_RETURN(const Graph piece, ExtractSubgraph(graph, cut, {tensor}, types_));
  TALLY_ASSIGN_OR_RETURN(stage.session, make(piece));
  return stage;
}

// Computes one batch.
absl::Status StagedRun::Fill(Stage* stage, const Kept& kept, const Batch& samples, int64_t first, int64_t count) const {
  const std::vector<NamedView> all = samples.views();
  std::vector<NamedView> views;
  for (const NamedView& view : all) {
    if (std::find(stage->samples.begin(), stage->samples.end(), view.name) != stage->samples.end())
      views.push_back(view);
  }
  if (!stage->session) {
    if (views.size() != 1 || views[0].view.dtype != DType::kFloat32) {
      return MakeError(ErrorId::kInternal, "an activation to visit is an input that is not float32");
    }
    std::memcpy(stage->value.data(), views[0].view.data, stage->value.size() * sizeof(float));
    return absl::OkStatus();
  }
  const std::vector<TensorInfo>& infos = stage->session->inputs();
  for (auto& [t, buffer] : stage->inputs) {
    const int64_t stride = per_sample(t);
    const float* from = kept.at(t).data() + first * stride;
    // A short batch repeats its last sample.
    for (int64_t i = 0; i < batch_; ++i) {
      std::memcpy(buffer.data() + i * stride, from + std::min(i, count - 1) * stride,
                  static_cast<size_t>(stride) * sizeof(float));
    }
  }
  // Kept inputs follow those from the data in no particular order: the session knows them by name.
  size_t next = 0;
  for (const TensorInfo& info : infos) {
    if (std::find(stage->samples.begin(), stage->samples.end(), info.name) != stage->samples.end()) continue;
    const auto& [t, buffer] = stage->inputs[next++];
    views.push_back({info.name, {buffer.data(), DType::kFloat32, types_[static_cast<size_t>(t)].shape}});
  }
  const TensorInfo& output = stage->session->outputs()[0];
  return stage->session->Run(views, {{output.name, {stage->value.data(), output.dtype, output.shape}}});
}

// Drops what no tensor still to visit depends on directly.
void StagedRun::Forget(const Graph& graph, Kept* kept) const {
  std::vector<bool> available(graph.tensors.size());
  for (int t : graph.inputs) available[static_cast<size_t>(t)] = true;
  for (const auto& [t, values] : *kept) available[static_cast<size_t>(t)] = true;
  std::vector<bool> used(graph.tensors.size());
  for (size_t i = next_; i < tensors_.size(); ++i) {
    for (int t : CutBefore(graph, available, {tensors_[i]}).inputs) used[static_cast<size_t>(t)] = true;
  }
  for (auto it = kept->begin(); it != kept->end();) {
    it = used[static_cast<size_t>(it->first)] ? std::next(it) : kept->erase(it);
  }
}

absl::Status StagedRun::Visit(const Graph& reference, const Graph& quantized, int tensor, const Body& body) {
  while (next_ < tensors_.size() && tensors_[next_] != tensor) ++next_;
  const Graph* graphs[2] = {&reference, &quantized};
  Stage stages[2];
  int64_t held = 0;
  for (int side = 0; side < 2; ++side) {
    Forget(*graphs[side], &kept_[side]);
    TALLY_ASSIGN_OR_RETURN(stages[side], Prepare(*graphs[side], kept_[side], tensor, make_[side]));
    for (const auto& [t, values] : kept_[side]) held += static_cast<int64_t>(values.size() * sizeof(float));
  }
  const int64_t stride = per_sample(tensor);
  const size_t floats = static_cast<size_t>(stride * data_.size());
  const bool keep = stages[0].session && held + 2 * static_cast<int64_t>(floats * sizeof(float)) <= budget_;
  std::vector<float> values[2];
  if (keep) values[0].resize(floats), values[1].resize(floats);
  const bool reads_data = !stages[0].samples.empty() || !stages[1].samples.empty();
  for (int64_t first = 0; first < data_.size(); first += batch_) {
    const int64_t count = std::min(batch_, data_.size() - first);
    Batch samples;
    if (reads_data) {
      TALLY_ASSIGN_OR_RETURN(samples, data_.Read(first, count));
      if (count < batch_) PadBatch(&samples, count, batch_);
    }
    for (int side = 0; side < 2; ++side) {
      TALLY_RETURN_IF_ERROR(Fill(&stages[side], kept_[side], samples, first, count));
      if (!keep) continue;
      std::memcpy(values[side].data() + first * stride, stages[side].value.data(),
                  static_cast<size_t>(count * stride) * sizeof(float));
    }
    TALLY_RETURN_IF_ERROR(body(first, count, stages[0].value.data(), stages[1].value.data()));
  }
  ++next_;
  if (keep) {
    for (int side = 0; side < 2; ++side) kept_[side].emplace(tensor, std::move(values[side]));
  }
  return absl::OkStatus();
}

}  // namespace tally
