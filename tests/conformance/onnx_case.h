// One model of the ONNX project's own tests with its golden inputs and outputs, run the whole way: import -> the bytes
// of a Tally file -> verified model -> session -> comparison.
#ifndef TALLY_TESTS_CONFORMANCE_ONNX_CASE_H_
#define TALLY_TESTS_CONFORMANCE_ONNX_CASE_H_

#include <string>

namespace tally::testing {

// `folder` holds model.onnx and test_data_set_0, test_data_set_1, ... The result in one line:
//
//   pass                          what came out is what ONNX says: as imported on the reference backend, and after the
//                                 passes on the shared operators
//   refused: <what>: <reason>...  Unimplemented, naming the operator
//   unusable: ...                 the golden data contradict the model
//   WRONG: ...                    anything else
std::string RunOnnxCase(const std::string& folder);

}  // namespace tally::testing

#endif  // TALLY_TESTS_CONFORMANCE_ONNX_CASE_H_
