// Choosing the next token.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "model.h"
#include "result.h"

namespace ptefoundry {

struct SamplingOptions {
  double temperature = 0;  // 0 takes the most likely token
  double top_p = 1;        // of the most likely tokens that sum up to this
  uint64_t seed = 0;
};

// Gives the same tokens for the same logits, options and number of draws.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);

  // Fails on logits that hold no number.
  Result<int64_t> sample(const Logits& logits);

 private:
  int64_t draw(const Logits& logits, float largest);

  SamplingOptions options_;
  std::mt19937_64 random_;
  std::vector<double> weights_;  // [vocab], relative to the most likely token
  std::vector<int64_t> order_;
};

}  // namespace ptefoundry
