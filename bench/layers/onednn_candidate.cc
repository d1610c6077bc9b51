// oneDNN's INT8 at its best: u8 source and f32 destination with channels last, weights in the layout that the primitive
// asks for, reordered and created once; for a fully connected layer the faster of its two primitives.
#include <algorithm>
#include <chrono>
#include <optional>

#include "absl/strings/str_cat.h"
#include "backends/onednn/dot_node.h"
#include "backends/onednn/library.h"
#include "bench/layers/candidate.h"
#include "format/error.h"
#include "runtime/core/aligned_buffer.h"

namespace tally::bench {
namespace {

using onednn::DotLayouts;
using onednn::DotPrimitive;

// Runs of each primitive before one is chosen.
constexpr int kTrials = 5;

class OneDnnCandidate : public Candidate {
 public:
  OneDnnCandidate(const Layer& layer, const CandidateSpec& spec)
      : layer_(layer),
        spec_(spec),
        engine_(dnnl::engine::kind::cpu, 0),
        stream_(engine_),
        source_(layer.bytes().size()),
        output_(static_cast<size_t>(layer.problem().outputs()) * sizeof(float)) {
    std::memcpy(source_.data(), layer.bytes().data(), source_.size());
    onednn::DotNode node;
    node.is_conv = layer.problem().is_conv;
    node.window = layer.problem().window;
    const DotLayouts layouts =
        onednn::MakeDotLayouts(node, node.window.in_channels_per_group(), dnnl::memory::data_type::f32);
    onednn::ScopedThreads threads(spec.pool->num_threads());
    chosen_ = Product{onednn::MakeDotPrimitive(node, layouts, false, onednn::UserScratchpad(), engine_), layouts};
    if (!node.is_conv) {
      const Product matmul = MatMul(layouts);
      if (Seconds(matmul) < Seconds(*chosen_)) chosen_ = matmul;
    }
    const size_t copies = CopyCount(spec.weight_bytes, chosen_->dot.weights.get_size());
    weights_.push_back(Pack(*chosen_));
    while (weights_.size() < copies) {
      weights_.emplace_back(weights_[0].size());
      std::memcpy(weights_.back().data(), weights_[0].data(), weights_[0].size());
    }
    executable_.emplace(Bind(*chosen_));
    scratchpad_ = AlignedBuffer(executable_->scratchpad_bytes());
  }

  absl::Status Run(size_t copy) override {
    onednn::ScopedThreads threads(spec_.pool->num_threads());
    TALLY_RETURN_IF_ERROR(executable_->Bind(2, weights_[copy].data()));
    return executable_->Execute(stream_, scratchpad_.data());
  }

  absl::Status Check() const override {
    const Window2d& w = layer_.problem().window;
    const size_t pixels = static_cast<size_t>(w.out_h * w.out_w), channels = static_cast<size_t>(w.out_channels);
    const auto output = [&](size_t i) {
      const size_t p = i % pixels, o = i / pixels % channels, n = i / pixels / channels;
      return static_cast<double>(output_.as<float>()[(n * pixels + p) * channels + o]);
    };
    return layer_.Check(output, true, 3e-7, 0);
  }

  std::string backend() const override { return spec_.backend; }
  std::string kernel() const override { return executable_->implementation(); }
  std::string isa() const override { return onednn::EffectiveIsaName(); }
  size_t copies() const override { return weights_.size(); }
  size_t resident_weight_bytes() const override { return weights_[0].size(); }
  size_t bytes_moved() const override { return resident_weight_bytes() + source_.size() + output_.size(); }

 private:
  struct Product {
    DotPrimitive dot;
    DotLayouts layouts;
  };

  // The product as [rows, k] x [k, outputs].
  Product MatMul(const DotLayouts& plain) const {
    using dnnl::memory;
    const Window2d& w = layer_.problem().window;
    DotLayouts l = plain;
    l.plain_weights = memory::desc({w.in_channels, w.out_channels}, memory::data_type::s8, memory::format_tag::ba);
    l.any_weights = memory::desc({w.in_channels, w.out_channels}, memory::data_type::s8, memory::format_tag::any);
    const dnnl::matmul::desc d(l.source, l.any_weights, l.destination);
    const dnnl::matmul::primitive_desc pd(d, onednn::UserScratchpad(), engine_);
    return {{dnnl::matmul(pd), pd, pd.weights_desc()}, l};
  }

  AlignedBuffer Pack(const Product& p) const {
    return onednn::ReorderWeights(p.layouts.plain_weights, layer_.weights().data(), p.dot.weights, engine_, stream_);
  }

  onednn::Executable Bind(const Product& p) const {
    return onednn::Executable(p.dot.primitive, p.dot.description,
                              {{DNNL_ARG_SRC, p.layouts.source, source_.data()},
                               {DNNL_ARG_DST, p.layouts.destination, output_.data()},
                               {DNNL_ARG_WEIGHTS, p.dot.weights, nullptr}},
                              engine_);
  }

  // The shortest of a few runs.
  double Seconds(const Product& p) const {
    const AlignedBuffer weights = Pack(p);
    onednn::Executable executable = Bind(p);
    const AlignedBuffer scratchpad(executable.scratchpad_bytes());
    double best = 1e300;
    for (int i = 0; i < kTrials; ++i) {
      const auto start = std::chrono::steady_clock::now();
      if (!executable.Bind(2, weights.data()).ok() || !executable.Execute(stream_, scratchpad.data()).ok()) break;
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
  }

  const Layer& layer_;
  CandidateSpec spec_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  AlignedBuffer source_, output_, scratchpad_;
  std::optional<Product> chosen_;
  std::vector<AlignedBuffer> weights_;
  std::optional<onednn::Executable> executable_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Candidate>> MakeOneDnnCandidate(const Layer& layer, const CandidateSpec& spec) {
  return onednn::Guarded([&]() -> absl::StatusOr<std::unique_ptr<Candidate>> {
    return std::unique_ptr<Candidate>(std::make_unique<OneDnnCandidate>(layer, spec));
  });
}

}  // namespace tally::bench
