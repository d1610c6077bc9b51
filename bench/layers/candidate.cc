#include "bench/layers/candidate.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "backends/all/all.h"
#include "backends/exponent/exponent.h"
#include "format/error.h"
#include "runtime/backend/tuner.h"
#include "runtime/core/aligned_buffer.h"

namespace tally::bench {
namespace {

// A node as a session would place it on backends of Tally's, by measurement, on codes.
class NodeCandidate : public Candidate {
 public:
  static absl::StatusOr<std::unique_ptr<Candidate>> Create(
      const Layer& layer, const CandidateSpec& spec, const std::vector<std::shared_ptr<const Backend>>& backends) {
    auto candidate = std::unique_ptr<NodeCandidate>(new NodeCandidate(layer, spec));
    const NodeContext context = layer.Context(spec.cpu, spec.pool->num_threads());
    std::vector<NodeVariant> variants;
    absl::Status refused;
    for (const auto& backend : backends) {
      const absl::Status supported = backend->Supports(context);
      refused.Update(supported);
      if (!supported.ok()) continue;
      for (NodeVariant& v : backend->Variants(context)) variants.push_back(std::move(v));
    }
    if (variants.empty()) return refused;
    Tuner tuner({}, spec.pool.get());
    TALLY_ASSIGN_OR_RETURN(Tuner::Choice choice, tuner.Choose(context, variants));
    candidate->why_ = choice.why;
    candidate->scratch_ = AlignedBuffer(choice.node->scratch_bytes());
    const size_t copies = CopyCount(spec.weight_bytes, choice.node->resident_weight_bytes());
    candidate->nodes_.push_back(std::move(choice.node));
    while (candidate->nodes_.size() < copies) {
      TALLY_ASSIGN_OR_RETURN(std::unique_ptr<CompiledNode> node, variants[choice.variant].compile());
      candidate->nodes_.push_back(std::move(node));
    }
    return std::unique_ptr<Candidate>(std::move(candidate));
  }

  absl::Status Run(size_t copy) override {
    const void* inputs[] = {codes_.data(), nullptr};
    void* outputs[] = {output_.data()};
    return nodes_[copy]->Run({inputs, outputs, scratch_.data(), spec_.pool.get()});
  }

  absl::Status Check() const override {
    const auto output = [&](size_t i) { return output_.as<float>()[i] / static_cast<double>(layer_.scale()); };
    // The sum is rounded to float32 and scaled by another.
    return layer_.Check(output, false, 3e-7, 0);
  }

  std::string backend() const override { return spec_.backend; }
  std::string kernel() const override { return nodes_[0]->kernel(); }
  std::string isa() const override { return nodes_[0]->isa(); }
  std::string why() const override { return why_; }
  size_t copies() const override { return nodes_.size(); }
  size_t resident_weight_bytes() const override { return nodes_[0]->resident_weight_bytes(); }
  size_t bytes_moved() const override { return resident_weight_bytes() + codes_.size() + output_.size(); }

 private:
  NodeCandidate(const Layer& layer, const CandidateSpec& spec)
      : layer_(layer),
        spec_(spec),
        codes_(layer.codes().size()),
        output_(static_cast<size_t>(layer.problem().outputs()) * sizeof(float)) {
    std::memcpy(codes_.data(), layer.codes().data(), codes_.size());
  }

  const Layer& layer_;
  CandidateSpec spec_;
  std::string why_;
  std::vector<std::unique_ptr<CompiledNode>> nodes_;
  AlignedBuffer codes_, scratch_, output_;
};

}  // namespace

std::vector<std::string> CandidateNames() {
  return {"exponent", "exponent+onednn-codebook", "onednn", "onednn-codebook", "xnnpack-qs8", "xnnpack"};
}

absl::StatusOr<std::unique_ptr<Candidate>> MakeCandidate(const Layer& layer, const CandidateSpec& spec) {
  if (spec.backend == "onednn") return MakeOneDnnCandidate(layer, spec);
  if (spec.backend == "xnnpack" || spec.backend == "xnnpack-qs8") {
    return MakeXnnpackCandidate(layer, spec, spec.backend == "xnnpack-qs8");
  }
  std::vector<std::shared_ptr<const Backend>> backends;
  for (const std::string& name : std::vector<std::string>(absl::StrSplit(spec.backend, '+'))) {
    if (name == "exponent") {
      ExponentOptions options;
      TALLY_ASSIGN_OR_RETURN(options.kernel, ParseExponentKernel(spec.kernel));
      backends.push_back(MakeExponentBackend(options));
    } else if (name == "onednn-codebook") {
      backends.push_back(DefaultRegistry().Find(name));
      if (backends.back() == nullptr) return MakeError(ErrorId::kUnsupportedNode, "this build lacks oneDNN");
    } else {
      return MakeError(ErrorId::kUsage, absl::StrCat("backend ", Quoted(spec.backend), "; there are ",
                                                     absl::StrJoin(CandidateNames(), ", ")));
    }
  }
  return NodeCandidate::Create(layer, spec, backends);
}

}  // namespace tally::bench
