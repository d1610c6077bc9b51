#include "format/graph.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace tally {
namespace {

constexpr size_t kBlobAlignment = 64;
// Vector kernels may read this far past a blob's end.
constexpr size_t kBlobSlack = 64;

// calloc takes large blocks as fresh zero pages from the system: no page is touched before the caller fills it.
std::shared_ptr<uint8_t> AllocateAligned(size_t size) {
  const size_t padded = size + kBlobSlack + kBlobAlignment - 1;
  void* const block = padded < size ? nullptr : std::calloc(padded, 1);
  if (block == nullptr) throw std::bad_alloc();
  const uintptr_t aligned = (reinterpret_cast<uintptr_t>(block) + kBlobAlignment - 1) / kBlobAlignment * kBlobAlignment;
  return std::shared_ptr<uint8_t>(reinterpret_cast<uint8_t*>(aligned), [block](uint8_t*) { std::free(block); });
}

}  // namespace

Blob Blob::Allocate(size_t size, uint8_t** data) {
  std::shared_ptr<uint8_t> buffer = AllocateAligned(size);
  *data = buffer.get();
  Blob blob;
  blob.data_ = buffer.get();
  blob.size_ = size;
  blob.owner_ = std::move(buffer);
  return blob;
}

Blob Blob::Copy(const void* data, size_t size) {
  uint8_t* to = nullptr;
  Blob blob = Allocate(size, &to);
  if (size > 0) std::memcpy(to, data, size);
  return blob;
}

Blob Blob::Wrap(std::shared_ptr<const void> owner, const uint8_t* data, size_t size) {
  Blob blob;
  blob.owner_ = std::move(owner);
  blob.data_ = data;
  blob.size_ = size;
  return blob;
}

size_t Tensor::elements() const {
  size_t n = 1;
  for (int64_t d : shape) n *= static_cast<size_t>(d);
  return n;
}

const Attribute* Node::Find(const std::string& attribute) const {
  for (const Attribute& a : attributes) {
    if (a.name == attribute) return &a;
  }
  return nullptr;
}

int64_t Node::GetInt(const std::string& attribute, int64_t absent) const {
  const Attribute* a = Find(attribute);
  return a == nullptr || a->ints.empty() ? absent : a->ints[0];
}

float Node::GetFloat(const std::string& attribute, float absent) const {
  const Attribute* a = Find(attribute);
  return a == nullptr || a->floats.empty() ? absent : a->floats[0];
}

std::vector<int64_t> Node::GetInts(const std::string& attribute) const {
  const Attribute* a = Find(attribute);
  return a == nullptr ? std::vector<int64_t>() : a->ints;
}

std::string Node::GetString(const std::string& attribute, const std::string& absent) const {
  const Attribute* a = Find(attribute);
  return a == nullptr ? absent : a->string;
}

void Node::SetInts(const std::string& attribute, std::vector<int64_t> values) {
  Remove(attribute);
  attributes.push_back({attribute, Attribute::Kind::kInts, std::move(values), {}, {}});
}

void Node::SetFloats(const std::string& attribute, std::vector<float> values) {
  Remove(attribute);
  attributes.push_back({attribute, Attribute::Kind::kFloats, {}, std::move(values), {}});
}

void Node::SetString(const std::string& attribute, const std::string& value) {
  Remove(attribute);
  attributes.push_back({attribute, Attribute::Kind::kString, {}, {}, value});
}

void Node::Remove(const std::string& attribute) {
  for (size_t i = 0; i < attributes.size(); ++i) {
    if (attributes[i].name == attribute) {
      attributes.erase(attributes.begin() + static_cast<std::ptrdiff_t>(i));
      return;
    }
  }
}

int Graph::FindTensor(const std::string& tensor) const {
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].name == tensor) return static_cast<int>(i);
  }
  return -1;
}

int Graph::AddTensor(Tensor tensor) {
  tensors.push_back(std::move(tensor));
  return static_cast<int>(tensors.size()) - 1;
}

}  // namespace tally
