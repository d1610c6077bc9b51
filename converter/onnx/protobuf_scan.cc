#include "converter/onnx/protobuf_scan.h"

namespace tally {
namespace {

enum class Message { kModel, kGraph, kNode, kAttribute, kTensor };

// Subgraphs deeper than this count as structure; protobuf refuses messages nested deeper than 100.
constexpr int kMaxDepth = 100;

// The messages within `message` that may hold tensor data; the numbers are those of onnx.proto.
bool Descend(Message message, uint64_t field, Message* child) {
  switch (message) {
    case Message::kModel: *child = Message::kGraph; return field == 7;
    case Message::kGraph: *child = field == 1 ? Message::kNode : Message::kTensor; return field == 1 || field == 5;
    case Message::kNode: *child = Message::kAttribute; return field == 5;
    case Message::kAttribute: *child = field == 5 ? Message::kTensor : Message::kGraph; return field == 5 || field == 6;
    case Message::kTensor: return false;
  }
  return false;
}

// float_data, int32_data, int64_data, raw_data, double_data, uint64_data
bool IsPayload(Message message, uint64_t field) {
  return message == Message::kTensor &&
         (field == 4 || field == 5 || field == 7 || field == 9 || field == 10 || field == 11);
}

bool ReadVarint(const uint8_t** at, const uint8_t* end, uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 64 && *at < end; shift += 7) {
    const uint8_t byte = *(*at)++;
    *value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

// Adds the payload within `message` to *payload; false when the bytes are not a valid message.
bool AddPayload(Message message, const uint8_t* at, const uint8_t* end, int depth, uint64_t* payload) {
  while (at < end) {
    uint64_t tag = 0, length = 0;
    if (!ReadVarint(&at, end, &tag)) return false;
    switch (tag & 7) {
      case 0:
        if (!ReadVarint(&at, end, &length)) return false;
        continue;
      case 1: length = 8; break;
      case 2:
        if (!ReadVarint(&at, end, &length)) return false;
        break;
      case 5: length = 4; break;
      default: return false;  // groups, which ONNX does not use
    }
    if (length > static_cast<uint64_t>(end - at)) return false;
    Message child;
    if ((tag & 7) == 2 && IsPayload(message, tag >> 3)) {
      *payload += length;
    } else if ((tag & 7) == 2 && depth < kMaxDepth && Descend(message, tag >> 3, &child)) {
      if (!AddPayload(child, at, at + length, depth + 1, payload)) return false;
    }
    at += length;
  }
  return true;
}

}  // namespace

bool StructureBytes(const uint8_t* model, size_t size, uint64_t* bytes) {
  uint64_t payload = 0;
  if (!AddPayload(Message::kModel, model, model + size, 0, &payload)) return false;
  *bytes = size - payload;
  return true;
}

}  // namespace tally
