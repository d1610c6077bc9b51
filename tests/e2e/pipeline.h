// ONNX file to converted model, as the command line does it, for end-to-end tests.
#ifndef TALLY_TESTS_E2E_PIPELINE_H_
#define TALLY_TESTS_E2E_PIPELINE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/calibration/dataset.h"
#include "converter/convert.h"
#include "tally/tally.h"

namespace tally::testing {

// Import and passes.
absl::StatusOr<Graph> ImportFloat(const std::string& onnx);

// Import, passes, conversion on the first `calibration_samples` samples of a description.
absl::StatusOr<Model> ConvertModel(const std::string& onnx, const std::string& calibration, int64_t calibration_samples,
                                   const ConvertOptions& options);

// First outputs of the first `count` samples, run one by one, on `backend` with TALLY_FORCE_ISA=`isa` ("" = unset).
absl::StatusOr<std::vector<std::vector<float>>> Outputs(const Model& model, const Dataset& data, int64_t count,
                                                        const std::string& backend, const std::string& isa,
                                                        int num_threads);

// The backend and instruction set of every Conv, Gemm and MatMul, "exponent/avx512"; one entry when all agree.
std::vector<std::string> PlacesOfQuantizedNodes(const Model& model, const std::string& backend, const std::string& isa);

// Runs `count` samples on exponent (every instruction set of this CPU, 1 and 2 threads), onednn-codebook where it was
// built and the histogram oracle; every output must have the same bits. Fails the current test otherwise.
void ExpectSameBitsEverywhere(const Model& model, const Dataset& data, int64_t count);

}  // namespace tally::testing

#endif  // TALLY_TESTS_E2E_PIPELINE_H_
