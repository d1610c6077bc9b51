// Classifies digits with a converted model: digits MODEL.tally
#include <tally/tally.h>

#include <algorithm>
#include <cstdio>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s MODEL.tally\n", argv[0]), 2;
  absl::StatusOr<tally::Model> model = tally::Model::Load(argv[1]);
  if (!model.ok()) return std::fprintf(stderr, "%s\n", model.status().ToString().c_str()), 1;

  tally::SessionOptions options;
  options.backends = {"exponent"};
  absl::StatusOr<tally::Session> session = tally::Session::Create(*model, options);
  if (!session.ok()) return std::fprintf(stderr, "%s\n", session.status().ToString().c_str()), 1;

  const tally::TensorInfo& in = session->inputs()[0];
  const tally::TensorInfo& out = session->outputs()[0];
  std::vector<float> image(28 * 28), logits(10);
  for (int y = 4; y < 24; ++y) image[y * 28 + 14] = image[y * 28 + 15] = 1;  // a one
  absl::Status status = session->Run({{in.name, {image.data(), in.dtype, in.shape}}},
                                     {{out.name, {logits.data(), out.dtype, out.shape}}});
  if (!status.ok()) return std::fprintf(stderr, "%s\n", status.ToString().c_str()), 1;
  std::printf("digit %d\n", static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
}
