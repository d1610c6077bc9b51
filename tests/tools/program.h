// Runs the real programs and shows what they printed and how they ended; makes the model and data that they run on.
#ifndef TALLY_TESTS_TOOLS_PROGRAM_H_
#define TALLY_TESTS_TOOLS_PROGRAM_H_

#include <string>
#include <vector>

#include "format/graph.h"
#include "nlohmann/json.hpp"

namespace tally::testing {

struct Ended {
  int status = -1;  // exit status; -1: killed by a signal
  std::string out;
  std::string err;

  nlohmann::json json() const { return nlohmann::json::parse(out); }
};

// Runs `tally` with these arguments. `stdout_path`: a file in place of the captured stdout; "closed" closes it.
Ended Tally(const std::vector<std::string>& arguments, const std::string& stdout_path = "");
// The same for any program.
Ended RunProgram(const std::string& program, const std::vector<std::string>& arguments,
                 const std::string& stdout_path = "");

// A folder with a model and data:
//   model.tally   the graph of tests/format/sample_graph.h: input [N,3,8,8], logits [N,5]; with every weight form
//   data.json     16 samples with labels; unlabelled.json the same without
//   x.npy         two samples
std::string MakeSampleFolder();

// Golden cases for `graph` from its own exponent session. Aborts on errors.
void AddGolden(Graph* graph);

std::string ReadText(const std::string& path);
bool Exists(const std::string& path);

}  // namespace tally::testing

#endif  // TALLY_TESTS_TOOLS_PROGRAM_H_
