// ONNX's TensorProto -> a plain constant of ours.
#ifndef TALLY_CONVERTER_ONNX_CONSTANTS_H_
#define TALLY_CONVERTER_ONNX_CONSTANTS_H_

#include <cstdint>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "format/graph.h"
#include "format/limits.h"
#include "onnx/onnx_pb.h"

namespace tally {

// Our element type for ONNX's; false when we have none. 16-bit and 64-bit floats become float32.
bool DTypeOfOnnx(int onnx_type, DType* dtype);
// "FLOAT16"; a number for values that ONNX does not define.
std::string OnnxTypeName(int onnx_type);

class ConstantReader {
 public:
  ConstantReader(std::string folder, const Limits& limits) : folder_(std::move(folder)), limits_(limits) {}

  // The tensor, without a name. An element type that we lack leaves it without data and says so in *unsupported.
  // Checks the shape, that exactly as much data is there as the shape says, and the sizes of one and of all constants.
  // Errors: kBadOnnx, kBadShape, kBadExternalData, kLimitTensor, kLimitCount.
  absl::StatusOr<Tensor> Read(const onnx::TensorProto& proto, std::string* unsupported);

  // Files of external data that were read, as the model names them.
  const std::set<std::string>& external_files() const { return external_files_; }

 private:
  const std::string folder_;
  const Limits limits_;
  uint64_t total_bytes_ = 0;
  std::set<std::string> external_files_;
};

}  // namespace tally

#endif  // TALLY_CONVERTER_ONNX_CONSTANTS_H_
