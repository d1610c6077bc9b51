#include "bench/layers/problem.h"

#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "format/error.h"

namespace tally::bench {
namespace {

constexpr int64_t kMaxExtent = 1 << 20;
constexpr int64_t kMaxElements = int64_t{1} << 28;

absl::Status Malformed(const std::string& text, const std::string& why) {
  return MakeError(ErrorId::kUsage,
                   absl::StrCat("problem ", Quoted(text), ": ", why,
                                "; expected fc:KxN, matmul:MxKxN or conv:CxHxW:OxRxS:stride[:groups[:pad]]"));
}

// Reads `count` numbers joined by 'x'.
bool ReadExtents(const std::string& text, size_t count, int64_t least, std::vector<int64_t>* extents) {
  extents->clear();
  for (absl::string_view part : absl::StrSplit(text, 'x')) {
    int64_t extent = 0;
    if (!absl::SimpleAtoi(part, &extent) || extent < least || extent > kMaxExtent) return false;
    extents->push_back(extent);
  }
  return extents->size() == count;
}

absl::Status ReadConv(const std::vector<std::string>& parts, Problem* problem) {
  const auto malformed = [&](const std::string& why) { return Malformed(problem->text, why); };
  if (parts.size() < 4 || parts.size() > 6) return malformed(absl::StrCat(parts.size(), " parts, expected 4 to 6"));
  std::vector<int64_t> input, kernel, number;
  if (!ReadExtents(parts[1], 3, 1, &input)) return malformed("no input CxHxW");
  if (!ReadExtents(parts[2], 3, 1, &kernel)) return malformed("no kernel OxRxS");
  Window2d& w = problem->window;
  problem->is_conv = true;
  w.in_channels = input[0];
  w.in_h = input[1];
  w.in_w = input[2];
  w.out_channels = kernel[0];
  w.kernel_h = kernel[1];
  w.kernel_w = kernel[2];
  if (!ReadExtents(parts[3], 1, 1, &number)) return malformed("no stride");
  w.stride_h = w.stride_w = number[0];
  if (parts.size() > 4) {
    if (!ReadExtents(parts[4], 1, 1, &number)) return malformed("no group count");
    w.group = number[0];
  }
  int64_t pad = w.kernel_h / 2;
  if (parts.size() > 5) {
    if (!ReadExtents(parts[5], 1, 0, &number)) return malformed("no padding");
    pad = number[0];
  }
  if (w.in_channels % w.group != 0 || w.out_channels % w.group != 0) {
    return malformed(absl::StrCat(w.group, " groups do not divide the channels"));
  }
  w.pad_top = w.pad_bottom = w.pad_left = w.pad_right = pad;
  if (w.in_h + 2 * w.pad_top < w.kernel_h || w.in_w + 2 * w.pad_left < w.kernel_w) {
    return malformed("the kernel is larger than the padded input");
  }
  w.out_h = (w.in_h + 2 * w.pad_top - w.kernel_h) / w.stride_h + 1;
  w.out_w = (w.in_w + 2 * w.pad_left - w.kernel_w) / w.stride_w + 1;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Problem> ParseProblem(const std::string& text) {
  Problem problem;
  problem.text = text;
  Window2d& w = problem.window;
  w.batch = w.in_h = w.in_w = w.out_h = w.out_w = 1;
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  std::vector<int64_t> extents;
  if (parts[0] == "conv") {
    TALLY_RETURN_IF_ERROR(ReadConv(parts, &problem));
  } else if (parts[0] == "fc" && parts.size() == 2 && ReadExtents(parts[1], 2, 1, &extents)) {
    w.in_channels = extents[0];
    w.out_channels = extents[1];
  } else if (parts[0] == "matmul" && parts.size() == 2 && ReadExtents(parts[1], 3, 1, &extents)) {
    w.batch = extents[0];
    w.in_channels = extents[1];
    w.out_channels = extents[2];
  } else {
    return Malformed(text, "not understood");
  }
  for (int64_t elements : {problem.inputs(), problem.outputs(), problem.weights()}) {
    if (elements > kMaxElements) return Malformed(text, absl::StrCat(elements, " elements > ", kMaxElements));
  }
  return problem;
}

absl::StatusOr<std::vector<Problem>> ReadProblems(const std::string& path) {
  std::ifstream file(path);
  if (!file) return MakeError(ErrorId::kUsage, absl::StrCat("cannot read problems from ", Quoted(path)));
  std::vector<Problem> problems;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    const std::string text(absl::StripAsciiWhitespace(line.substr(0, line.find('#'))));
    if (text.empty()) continue;
    absl::StatusOr<Problem> problem = ParseProblem(text);
    if (!problem.ok()) {
      return MakeError(ErrorId::kUsage, absl::StrCat(Quoted(path), " line ", number, ": ", problem.status().message()));
    }
    problems.push_back(*std::move(problem));
  }
  return problems;
}

Problem WithBatch(const Problem& problem, int64_t batch) {
  Problem scaled = problem;
  scaled.window.batch *= batch;
  return scaled;
}

}  // namespace tally::bench
