#include "sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ptefoundry {

Sampler::Sampler(const SamplingOptions& options)
    : options_(options), random_(options.seed) {}

Result<int64_t> Sampler::sample(const Logits& logits) {
  int64_t best = -1;
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < logits.size; ++i) {
    if (std::isnan(logits.data[i])) {
      best = -1;
      break;
    }
    if (logits.data[i] > largest) {
      largest = logits.data[i];
      best = i;
    }
  }
  if (best < 0 || std::isinf(largest)) {
    return Failure{
        "the logits are not finite numbers; the program or its "
        "foundation is damaged"};
  }
  return options_.temperature == 0 ? best : draw(logits, largest);
}

int64_t Sampler::draw(const Logits& logits, float largest) {
  weights_.resize(static_cast<size_t>(logits.size));
  double total = 0;
  for (int64_t i = 0; i < logits.size; ++i) {
    weights_[i] = std::exp((static_cast<double>(logits.data[i]) - largest) /
                           options_.temperature);
    total += weights_[i];
  }
  // A token below an equal share of what may be left out is never taken, so
  // most of the vocabulary need not be sorted.
  const double threshold =
      options_.top_p < 1 ? (1 - options_.top_p) * total / logits.size : 0;
  order_.clear();
  for (int64_t i = 0; i < logits.size; ++i) {
    if (weights_[i] >= threshold && weights_[i] > 0) {
      order_.push_back(i);
    }
  }
  if (options_.top_p < 1) {
    std::stable_sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) {
      return weights_[a] > weights_[b];
    });
  }
  double kept = 0;
  size_t count = 0;
  while (count < order_.size() &&
         (count == 0 || kept < options_.top_p * total)) {
    kept += weights_[order_[count++]];
  }
  // std::uniform_real_distribution differs between standard libraries.
  const double uniform =
      static_cast<double>(random_() >> 11) * 0x1p-53;  // [0, 1)
  double remaining = uniform * kept;
  for (size_t i = 0; i < count; ++i) {
    remaining -= weights_[order_[i]];
    if (remaining < 0) {
      return order_[i];
    }
  }
  return order_[count - 1];
}

}  // namespace ptefoundry
