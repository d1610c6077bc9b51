#include "tests/backends/exponent/harness.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <new>

#include "backends/exponent/exponent.h"
#include "backends/exponent/kernels/lookup/lookup_table.h"
#include "format/bit_packing.h"
#include "runtime/core/thread_pool.h"

namespace tally::testing {
namespace {

// Exactly `size` bytes, at a multiple of 64 plus `shift`, so that a sanitizer sees every step outside.
class ExactBuffer {
 public:
  ExactBuffer(size_t size, size_t shift) : shift_(shift), data_(::operator new(size + shift, std::align_val_t(64))) {}
  ~ExactBuffer() { ::operator delete(data_, std::align_val_t(64)); }
  ExactBuffer(const ExactBuffer&) = delete;
  ExactBuffer& operator=(const ExactBuffer&) = delete;
  uint8_t* data() const { return static_cast<uint8_t*>(data_) + shift_; }

 private:
  size_t shift_;
  void* data_;
};

// Creating a pool costs milliseconds of spinning, so each is made once.
ThreadPool* Pool(int num_threads) {
  static std::map<int, std::unique_ptr<ThreadPool>> pools;
  std::unique_ptr<ThreadPool>& pool = pools[num_threads];
  if (pool == nullptr) pool = *ThreadPool::Create(num_threads);
  return pool.get();
}

}  // namespace

Codebook RandomCodebook(Rng& rng, int exponent_bits, bool is_signed, Grid grid, bool extreme) {
  Codebook book;
  book.exponent_bits = exponent_bits;
  book.is_signed = is_signed;
  book.grid = grid;
  book.base = 1.05 + 0.01 * static_cast<double>(Pick(rng, 20));
  book.alpha = 0.5;
  book.beta = 0.01 * static_cast<double>(Pick(rng, 5));
  if (grid == Grid::kReal) {
    for (int i = 0; i < book.magnitudes(); ++i) book.thresholds.push_back(0.1f * static_cast<float>(i + 1));
  } else {
    for (int i = 0; i < book.magnitudes(); ++i) {
      const size_t max = static_cast<size_t>(book.max_mantissa());
      book.mantissas.push_back(static_cast<int32_t>(extreme ? max : 1 + Pick(rng, max)));
    }
    std::sort(book.mantissas.begin(), book.mantissas.end());
    book.scale = 1.0f / static_cast<float>(1 + Pick(rng, 100));
    book.inverse_scale = 1 / book.scale;
  }
  EXPECT_TRUE(book.Validate().ok()) << book.Validate().message();
  return book;
}

Codebook RandomCodebook(Rng& rng) {
  const int n = 2 + static_cast<int>(Pick(rng, 6));
  const bool is_signed = Pick(rng, 2) == 0;
  return RandomCodebook(rng, n, is_signed, Pick(rng, 3) == 0 ? Grid::kQ14 : Grid::kQ7);
}

std::vector<float> RandomFloats(Rng& rng, size_t count) {
  std::vector<float> values(count);
  for (float& v : values) v = std::uniform_real_distribution<float>(-2, 2)(rng);
  return values;
}

std::vector<uint8_t> RandomCodes(Rng& rng, const Codebook& book, size_t count, Fill fill) {
  std::vector<uint8_t> codes(count);
  const uint8_t largest = static_cast<uint8_t>(book.magnitudes());
  for (uint8_t& c : codes) {
    switch (fill) {
      case Fill::kRandom:
        // About a quarter of zeros, as after a Relu.
        c = Pick(rng, 4) == 0 ? 0 : static_cast<uint8_t>(Pick(rng, static_cast<size_t>(book.code_count())));
        if (!book.is_valid_code(c)) c = 0;
        break;
      case Fill::kZero: c = 0; break;
      case Fill::kLargest: c = largest; break;
      case Fill::kLargestNegative: c = static_cast<uint8_t>(largest | book.sign_bit()); break;
    }
  }
  return codes;
}

NodeCase::NodeCase(const std::string& op) {
  Node node;
  node.name = "node";
  node.op = op;
  graph_.nodes.push_back(node);
}

void NodeCase::AddCodes(const Codebook& book, const Shape& shape, std::vector<uint8_t> codes) {
  Tensor tensor;
  tensor.name = "input" + std::to_string(inputs_.size());
  tensor.codebook = book;
  node().inputs.push_back(graph_.AddTensor(tensor));
  types_.push_back({DType::kFloat32, shape});
  inputs_.push_back({std::move(codes), true});
}

void NodeCase::AddWeight(const Codebook& book, const Shape& shape, const std::vector<uint8_t>& codes,
                         std::vector<float> channel_scales) {
  Tensor tensor;
  tensor.name = "weight";
  tensor.shape = shape;
  CodeForm form;
  form.codebook = book;
  form.channel_scales = std::move(channel_scales);
  uint8_t* packed = nullptr;
  form.packed = Blob::Allocate(static_cast<size_t>(PackedBytes(codes.size(), book.stored_bits())), &packed);
  PackBits(codes.data(), codes.size(), book.stored_bits(), packed);
  tensor.codes = form;
  node().inputs.push_back(graph_.AddTensor(tensor));
  types_.push_back({DType::kFloat32, shape});
  inputs_.push_back({});
}

void NodeCase::AddFloat(const Shape& shape, std::vector<float> values) {
  Tensor tensor;
  tensor.name = "float" + std::to_string(inputs_.size());
  node().inputs.push_back(graph_.AddTensor(tensor));
  types_.push_back({DType::kFloat32, shape});
  Input input{std::vector<uint8_t>(values.size() * sizeof(float)), true};
  if (!values.empty()) std::memcpy(input.bytes.data(), values.data(), input.bytes.size());
  inputs_.push_back(std::move(input));
}

void NodeCase::AddAbsent() {
  node().inputs.push_back(-1);
  types_.push_back({});
  inputs_.push_back({});
}

void NodeCase::SetOutput(const Shape& shape) {
  Tensor tensor;
  tensor.name = "output";
  node().outputs.push_back(graph_.AddTensor(tensor));
  output_ = {DType::kFloat32, shape};
}

NodeContext NodeCase::Context(const CpuFeatures& cpu, int num_threads) const {
  return NodeContext{graph_, graph_.nodes[0], types_, {output_}, cpu, num_threads};
}

NodeCase::Result NodeCase::Run(const Backend& backend, const CpuFeatures& cpu, int num_threads,
                               size_t misalignment) const {
  Result result;
  const NodeContext context = Context(cpu, num_threads);
  result.status = backend.Supports(context);
  if (!result.status.ok()) return result;
  absl::StatusOr<std::unique_ptr<CompiledNode>> node = backend.Compile(context);
  result.status = node.status();
  if (!node.ok()) return result;
  result.kernel = (*node)->kernel();
  result.isa = (*node)->isa();
  std::vector<std::unique_ptr<ExactBuffer>> buffers;
  std::vector<const void*> inputs;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (!inputs_[i].present) {
      inputs.push_back(nullptr);
      continue;
    }
    const bool codes = (*node)->input_encoding(i) == Encoding::kCodes;
    buffers.push_back(std::make_unique<ExactBuffer>(inputs_[i].bytes.size(), codes ? misalignment : 0));
    if (!inputs_[i].bytes.empty()) {
      std::memcpy(buffers.back()->data(), inputs_[i].bytes.data(), inputs_[i].bytes.size());
    }
    inputs.push_back(buffers.back()->data());
  }
  const size_t scratch_bytes = (*node)->scratch_bytes();
  ExactBuffer scratch(scratch_bytes, 0);
  ExactBuffer output(output_.bytes(), 0);
  void* outputs[] = {output.data()};
  for (int run = 0; run < 2; ++run) {
    std::memset(scratch.data(), run == 0 ? 0xA5 : 0x3C, scratch_bytes);
    std::memset(output.data(), 0xFF, output_.bytes());
    const RunArgs args{inputs.data(), outputs, scratch.data(), Pool(num_threads)};
    result.status = (*node)->Run(args);
    std::vector<float> values(static_cast<size_t>(output_.elements()));
    if (!values.empty()) std::memcpy(values.data(), output.data(), output_.bytes());
    if (run == 1) {
      EXPECT_TRUE(values.empty() || std::memcmp(values.data(), result.output.data(), output_.bytes()) == 0)
          << "the result depends on what the scratch held";
    }
    result.output = std::move(values);
  }
  return result;
}

std::vector<CpuFeatures> RunnableCpus() {
  std::vector<CpuFeatures> cpus;
  for (const IsaEntry<LookupKernel>& entry : LookupKernels()) {
    if (!DetectCpu().Has(entry.isa)) {
      std::printf("left out %s: this CPU has none\n", IsaName(entry.isa));
      continue;
    }
    CpuFeatures cpu;
    cpu.Add(entry.isa);
    cpus.push_back(cpu);
  }
  return cpus;
}

std::string CpuName(const CpuFeatures& cpu) { return IsaName(cpu.best()); }

void ExpectMatchesHistogram(const NodeCase& c, const std::string& what, ExponentKernel kernel) {
  static const std::vector<CpuFeatures> cpus = RunnableCpus();
  ExponentOptions options;
  options.kernel = kernel;
  options.products_per_thread = 1;  // small cases are divided as well
  const std::shared_ptr<const Backend> exponent = MakeExponentBackend(options);
  static const std::shared_ptr<const Backend> histogram = MakeHistogramBackend();
  const NodeCase::Result expected = c.Run(*histogram, CpuFeatures(), 1);
  ASSERT_TRUE(expected.status.ok()) << what << ": " << expected.status.message();
  const auto expect_same = [&](const CpuFeatures& cpu, int threads) {
    const NodeCase::Result actual = c.Run(*exponent, cpu, threads, static_cast<size_t>(threads));
    ASSERT_TRUE(actual.status.ok()) << what << ": " << actual.status.message();
    for (size_t i = 0; i < expected.output.size(); ++i) {
      // Bits, so that zeros of different sign differ.
      ASSERT_EQ(std::memcmp(&actual.output[i], &expected.output[i], sizeof(float)), 0)
          << what << " on " << CpuName(cpu) << ", " << threads << " threads, " << actual.kernel << ", output " << i
          << " of " << expected.output.size() << ": " << actual.output[i] << ", expected " << expected.output[i];
    }
  };
  for (const CpuFeatures& cpu : cpus) {
    expect_same(cpu, 1);
    if (::testing::Test::HasFatalFailure()) return;
  }
  // The division of the work among threads does not depend on the ISA: the cases take turns. Idle workers spin, which
  // is why not every case runs with every number of threads.
  static size_t turn = 0;
  ++turn;
  expect_same(cpus[turn % cpus.size()], turn % 8 == 0 ? 3 : 2);
}

}  // namespace tally::testing
