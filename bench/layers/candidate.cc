#include "bench/layers/candidate.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/all/all.h"
#include "backends/exponent/exponent.h"
#include "format/error.h"
#include "runtime/core/aligned_buffer.h"

namespace tally::bench {
namespace {

// A backend of Tally's, on codes.
class NodeCandidate : public Candidate {
 public:
  static absl::StatusOr<std::unique_ptr<Candidate>> Create(const Layer& layer, const CandidateSpec& spec,
                                                           const Backend& backend) {
    auto candidate = std::unique_ptr<NodeCandidate>(new NodeCandidate(layer, spec));
    const NodeContext context = layer.Context(spec.cpu, spec.pool->num_threads());
    TALLY_RETURN_IF_ERROR(backend.Supports(context));
    size_t scratch = 0;
    for (size_t copies = 1; candidate->nodes_.size() < copies;) {
      TALLY_ASSIGN_OR_RETURN(std::unique_ptr<CompiledNode> node, backend.Compile(context));
      if (candidate->nodes_.empty()) copies = CopyCount(spec.weight_bytes, node->resident_weight_bytes());
      scratch = node->scratch_bytes();
      candidate->nodes_.push_back(std::move(node));
    }
    candidate->scratch_ = AlignedBuffer(scratch);
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
  std::vector<std::unique_ptr<CompiledNode>> nodes_;
  AlignedBuffer codes_, scratch_, output_;
};

}  // namespace

std::vector<std::string> CandidateNames() {
  return {"exponent", "onednn", "onednn-codebook", "xnnpack-qs8", "xnnpack"};
}

absl::StatusOr<std::unique_ptr<Candidate>> MakeCandidate(const Layer& layer, const CandidateSpec& spec) {
  if (spec.backend == "exponent") {
    ExponentOptions options;
    TALLY_ASSIGN_OR_RETURN(options.kernel, ParseExponentKernel(spec.kernel));
    return NodeCandidate::Create(layer, spec, *MakeExponentBackend(options));
  }
  if (spec.backend == "onednn") return MakeOneDnnCandidate(layer, spec);
  if (spec.backend == "xnnpack" || spec.backend == "xnnpack-qs8") {
    return MakeXnnpackCandidate(layer, spec, spec.backend == "xnnpack-qs8");
  }
  if (spec.backend == "onednn-codebook") {
    const std::shared_ptr<const Backend> backend = DefaultRegistry().Find(spec.backend);
    if (backend != nullptr) return NodeCandidate::Create(layer, spec, *backend);
    return MakeError(ErrorId::kUnsupportedNode, "this build lacks oneDNN");
  }
  return MakeError(ErrorId::kUsage, absl::StrCat("backend ", Quoted(spec.backend), "; there are ",
                                                 absl::StrJoin(CandidateNames(), ", ")));
}

}  // namespace tally::bench
