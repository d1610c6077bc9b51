#include "converter/passes/passes.h"

#include "format/error.h"

namespace tally {

absl::Status RunPasses(Graph* graph) {
  using Pass = absl::Status (*)(Graph*);
  constexpr Pass kPasses[] = {
      RemoveDeadCode,  // first, so that nothing unused is computed
      RemoveIdentities,
      FoldConstants,  // exposes weights behind Transpose and Reshape
      CanonicalizeGemm,
      FuseScale,
      FuseBias,  // a MatMul's Add must be a bias before a BatchNormalization behind it can be folded
      FoldBatchNormalization,
      FuseScale,  // what is left of a BatchNormalization
      FuseBias,
      FuseHardActivations,
      FusePatterns,
      FuseResidualAndActivation,
      RemoveDeadCode,
  };
  for (Pass pass : kPasses) TALLY_RETURN_IF_ERROR(pass(graph));
  return absl::OkStatus();
}

}  // namespace tally
