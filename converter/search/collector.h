// Gathers what activations hold while a float session runs over calibration data. Memory depends on the tensors, not on
// the number of samples; results depend on data and seed, not on threads. Used by one thread.
#ifndef TALLY_CONVERTER_SEARCH_COLLECTOR_H_
#define TALLY_CONVERTER_SEARCH_COLLECTOR_H_

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "converter/search/magnitudes.h"
#include "converter/search/targets.h"
#include "tally/types.h"

namespace tally {

struct ActivationSamples {
  float min = std::numeric_limits<float>::infinity();
  float max = -std::numeric_limits<float>::infinity();
  uint64_t finite = 0;  // values
  uint64_t non_finite = 0;
  MagnitudeHistogram histogram;  // of at most about 4 million values, evenly drawn
  // Along the target's channel axis.
  std::vector<double> channel_sums, channel_squares;
  uint64_t per_channel = 0;  // values behind each sum

  bool empty() const { return finite == 0; }
};

class ActivationCollector {
 public:
  // `samples`: how many there will be in all.
  ActivationCollector(const Graph& graph, const Targets& targets, int64_t samples, uint64_t seed);

  // One tensor of one run of `batch` samples, of which the first `count` are real. Tensors that are no target are
  // ignored.
  void Add(const std::string& tensor, const TensorView& value, int64_t batch, int64_t count);

  // One entry per activation target.
  const std::vector<ActivationSamples>& samples() const { return samples_; }

 private:
  const Targets& targets_;
  const uint64_t expected_samples_;
  uint64_t state_;  // of the random number generator
  std::map<std::string, size_t> by_name_;
  std::vector<ActivationSamples> samples_;
};

}  // namespace tally

#endif  // TALLY_CONVERTER_SEARCH_COLLECTOR_H_
