// Looks at a protobuf before it is parsed. Parsed, an empty message of 2 bytes takes over 100, so that a file within
// the limits could ask for many times its size; weights do not grow like that.
#ifndef TALLY_CONVERTER_ONNX_PROTOBUF_SCAN_H_
#define TALLY_CONVERTER_ONNX_PROTOBUF_SCAN_H_

#include <cstddef>
#include <cstdint>

namespace tally {

// Bytes of an onnx::ModelProto that are not payload of tensors (raw or packed data). False when the bytes are not a
// valid protobuf; parsing may still find more errors.
bool StructureBytes(const uint8_t* model, size_t size, uint64_t* bytes);

}  // namespace tally

#endif  // TALLY_CONVERTER_ONNX_PROTOBUF_SCAN_H_
