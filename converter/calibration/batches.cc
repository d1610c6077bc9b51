#include "converter/calibration/batches.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "format/error.h"

namespace tally {
namespace {

constexpr int64_t kBatchBytes = int64_t{4} << 20;
constexpr int64_t kMaxBatch = 32;

int64_t ChooseBatch(const Batch& sample) {
  size_t bytes = 1;
  for (const BatchInput& input : sample.inputs) bytes += input.data.size();
  return std::clamp<int64_t>(kBatchBytes / static_cast<int64_t>(bytes), 1, kMaxBatch);
}

absl::Status ResizeTo(Session& session, const Batch& sample, int64_t batch) {
  std::vector<std::pair<std::string, Shape>> shapes;
  for (const BatchInput& input : sample.inputs) {
    Shape shape = input.type.shape;
    if (!shape.empty()) shape[0] = batch;
    shapes.emplace_back(input.name, std::move(shape));
  }
  return session.Resize(shapes);
}

}  // namespace

absl::StatusOr<int64_t> FitSession(Session& session, const Batch& sample, int64_t batch) {
  const absl::Status status = ResizeTo(session, sample, batch);
  if (status.ok()) return batch;
  // A fixed batch, or one too large for the memory limit.
  const std::vector<TensorInfo>& inputs = session.inputs();
  const int64_t own = inputs.empty() || inputs[0].shape.empty() ? 1 : std::max<int64_t>(1, inputs[0].shape[0]);
  if (own == batch) return status;
  TALLY_RETURN_IF_ERROR(ResizeTo(session, sample, own));
  return own;
}

void PadBatch(Batch* samples, int64_t count, int64_t batch) {
  for (BatchInput& input : samples->inputs) {
    const size_t bytes = input.data.size() / static_cast<size_t>(count);
    input.data.reserve(bytes * static_cast<size_t>(batch));
    for (int64_t i = count; i < batch; ++i) {
      const std::vector<uint8_t> last(input.data.end() - static_cast<int64_t>(bytes), input.data.end());
      input.data.insert(input.data.end(), last.begin(), last.end());
    }
    if (!input.type.shape.empty()) input.type.shape[0] = batch;
  }
}

absl::Status RunInBatches(Session& session, const Dataset& data, int64_t batch,
                          const std::function<absl::Status(const Batch& batch, int64_t first, int64_t count)>& before,
                          const std::function<absl::Status(const BatchResult&)>& after) {
  if (data.size() <= 0) return MakeError(ErrorId::kBadDataFile, absl::StrCat(Quoted(data.name()), " has no samples"));
  TALLY_ASSIGN_OR_RETURN(const Batch sample, data.Read(0, 1));
  if (batch <= 0) batch = ChooseBatch(sample);
  batch = std::min(batch, data.size());
  TALLY_ASSIGN_OR_RETURN(batch, FitSession(session, sample, batch));
  if (session.outputs().empty()) return MakeError(ErrorId::kBadDataFile, "the model has no output");
  const TensorInfo output = session.outputs()[0];
  const TensorType type = {output.dtype, output.shape};
  if (type.elements() % batch != 0) {
    return MakeError(ErrorId::kBadDataFile,
                     absl::StrCat("output ", Quoted(output.name), " is ", ShapeString(type.shape),
                                  ", which does not divide into ", batch, " samples"));
  }
  std::vector<std::vector<uint8_t>> buffers;
  std::vector<TensorView> outputs;
  std::vector<NamedMutableView> to;
  for (const TensorInfo& info : session.outputs()) {
    buffers.emplace_back(std::max<size_t>(1, TensorType{info.dtype, info.shape}.bytes()));
    outputs.push_back({buffers.back().data(), info.dtype, info.shape});
    to.push_back({info.name, {buffers.back().data(), info.dtype, info.shape}});
  }
  for (int64_t first = 0; first < data.size(); first += batch) {
    const int64_t count = std::min(batch, data.size() - first);
    TALLY_ASSIGN_OR_RETURN(Batch samples, data.Read(first, count));
    if (before) TALLY_RETURN_IF_ERROR(before(samples, first, count));
    if (count < batch) PadBatch(&samples, count, batch);
    TALLY_RETURN_IF_ERROR(session.Run(samples.views(), to));
    if (after) {
      TALLY_RETURN_IF_ERROR(after({samples, first, count, batch, outputs, type.elements() / batch}));
    }
  }
  return absl::OkStatus();
}

}  // namespace tally
