#include "sampling.h"

#include <cmath>
#include <limits>
#include <vector>

#include "check.h"

namespace {

using ptefoundry::Logits;
using ptefoundry::Sampler;

int64_t sample(Sampler& sampler, const std::vector<float>& logits) {
  const auto id =
      sampler.sample({logits.data(), static_cast<int64_t>(logits.size())});
  return id.ok() ? id.value() : -1;
}

std::vector<int> counts(double temperature, double top_p, int draws) {
  const std::vector<float> logits = {0.0f, std::log(2.0f), std::log(5.0f)};
  Sampler sampler({temperature, top_p, 1});
  std::vector<int> counts(logits.size());
  for (int i = 0; i < draws; ++i) {
    ++counts[sample(sampler, logits)];
  }
  return counts;
}

TEST(temperature_zero_takes_the_first_of_the_largest) {
  Sampler sampler({0, 1, 0});
  CHECK_EQUAL(sample(sampler, {1, 5, 5, 2}), 1);
}

TEST(draws_follow_the_probabilities) {
  const auto drawn = counts(1, 1, 8000);
  CHECK(std::abs(drawn[0] - 1000) < 150);
  CHECK(std::abs(drawn[1] - 2000) < 150);
  CHECK(std::abs(drawn[2] - 5000) < 150);
}

TEST(low_temperature_prefers_the_likeliest) {
  CHECK(counts(0.1, 1, 1000)[2] > 990);
}

TEST(top_p_leaves_out_the_tail) {
  const auto two = counts(1, 0.7, 1000);
  CHECK_EQUAL(two[0], 0);
  CHECK(two[1] > 0 && two[2] > 0);
  CHECK_EQUAL(counts(1, 0.5, 1000)[2], 1000);
  CHECK_EQUAL(counts(1, 0, 1000)[2], 1000);
}

TEST(the_same_seed_gives_the_same_tokens) {
  const std::vector<float> logits(100, 0.0f);
  Sampler first({1, 1, 42});
  Sampler second({1, 1, 42});
  Sampler other({1, 1, 43});
  int differences = 0;
  for (int i = 0; i < 50; ++i) {
    const int64_t id = sample(first, logits);
    CHECK_EQUAL(sample(second, logits), id);
    differences += sample(other, logits) != id;
  }
  CHECK(differences > 0);
}

TEST(logits_that_are_no_numbers_are_refused) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  Sampler sampler({0, 1, 0});
  CHECK_EQUAL(sample(sampler, {1, nan, 2}), -1);
  CHECK_EQUAL(sample(sampler, {-infinity, -infinity}), -1);
  CHECK_EQUAL(sample(sampler, {1, infinity}), -1);
  CHECK_EQUAL(sample(sampler, {-infinity, 0}), 1);
}

}  // namespace
