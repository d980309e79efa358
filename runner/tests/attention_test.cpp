#include "attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "program.h"

namespace {

using ptefoundry::Attention;

constexpr double kTolerance = 1e-5;

struct Problem {
  int64_t batch = 1;
  int64_t queries = 1;
  int64_t heads = 1;
  int64_t kv_heads = 1;
  int64_t head_dim = 8;
  int64_t capacity = 16;
  int64_t start_pos = 0;
  bool causal = true;
  bool masked = false;
};

std::vector<float> random_floats(size_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  std::generate(values.begin(), values.end(), [&] { return normal(random); });
  return values;
}

// One query row, in double precision and without any blocking.
void attend_row(const Attention& a, int64_t batch, int64_t query, int64_t head,
                double* output) {
  const int64_t kv_head = head / (a.heads / a.kv_heads);
  const float* q =
      a.query + ((batch * a.queries + query) * a.heads + head) * a.head_dim;
  const auto row = [&](const float* cache, int64_t key) {
    return cache +
           ((batch * a.capacity + key) * a.kv_heads + kv_head) * a.head_dim;
  };
  const int64_t keys = a.causal ? a.start_pos + query + 1 : a.keys;
  std::vector<double> scores(keys);
  for (int64_t key = 0; key < keys; ++key) {
    for (int64_t d = 0; d < a.head_dim; ++d) {
      scores[key] += static_cast<double>(q[d]) * row(a.key, key)[d] * a.scale;
    }
    scores[key] += a.mask == nullptr ? 0 : a.mask[query * a.keys + key];
  }
  const double max = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  std::fill_n(output, a.head_dim, 0);
  for (int64_t key = 0; key < keys; ++key) {
    const double weight = std::exp(scores[key] - max);
    sum += weight;
    for (int64_t d = 0; d < a.head_dim; ++d) {
      output[d] += weight * row(a.value, key)[d];
    }
  }
  for (int64_t d = 0; d < a.head_dim; ++d) {
    output[d] /= sum;
  }
}

std::vector<float> run(const Problem& p, double* worst) {
  std::mt19937 random(7);
  const int64_t keys = p.masked ? p.capacity : p.start_pos + p.queries;
  const auto query =
      random_floats(p.batch * p.queries * p.heads * p.head_dim, random);
  const auto key =
      random_floats(p.batch * p.capacity * p.kv_heads * p.head_dim, random);
  const auto value = random_floats(key.size(), random);
  auto mask = random_floats(p.queries * p.capacity, random);
  for (size_t i = 1; i < mask.size(); i += 3) {
    mask[i] = -std::numeric_limits<float>::infinity();
  }
  std::vector<float> output(query.size());
  const Attention a = {
      query.data(),  key.data(), value.data(), p.masked ? mask.data() : nullptr,
      output.data(), p.batch,    p.queries,    p.heads,
      p.kv_heads,    p.head_dim, p.capacity,   keys,
      p.start_pos,   p.causal,   0.3f};
  CHECK(ptefoundry::run_attention(a));
  std::vector<double> expected(p.head_dim);
  *worst = 0;
  for (int64_t row = 0; row < p.batch * p.queries * p.heads; ++row) {
    attend_row(a, row / p.heads / p.queries, row / p.heads % p.queries,
               row % p.heads, expected.data());
    for (int64_t d = 0; d < p.head_dim; ++d) {
      *worst = std::max(*worst,
                        std::abs(output[row * p.head_dim + d] - expected[d]));
    }
  }
  return output;
}

void check_problem(const Problem& problem) {
  double worst = 0;
  run(problem, &worst);
  CHECK(worst < kTolerance);
}

TEST(one_query_matches_the_definition) {
  for (const int64_t start_pos : {0, 1, 63, 64, 127, 128, 255, 256, 700}) {
    check_problem({1, 1, 9, 3, 64, 701, start_pos});
    check_problem({1, 1, 14, 2, 40, 701, start_pos});
    check_problem({2, 1, 3, 3, 8, 701, start_pos});
  }
}

TEST(many_queries_match_the_definition) {
  for (const int64_t queries : {2, 7, 32, 33, 100}) {
    check_problem({1, queries, 4, 2, 64, 256, 0});
    check_problem({1, queries, 4, 2, 64, 256, 130});
  }
}

TEST(odd_head_sizes_and_ratios_match_the_definition) {
  for (const int64_t head_dim : {1, 7, 8, 20, 80, 128}) {
    check_problem({1, 1, 8, 1, head_dim, 90, 80});
    check_problem({1, 12, 8, 1, head_dim, 90, 70});
    check_problem({1, 12, 3, 3, head_dim, 90, 70});
    for (const int64_t queries : {3, 5, 13}) {
      check_problem({1, queries, 7, 1, head_dim, 90, 75});
    }
  }
}

TEST(batches_match_the_definition) { check_problem({3, 5, 4, 2, 16, 64, 20}); }

TEST(without_causality_all_queries_see_all_keys) {
  check_problem({1, 6, 4, 2, 16, 64, 20, /*causal=*/false});
}

TEST(a_mask_is_added_to_the_scores) {
  check_problem({1, 6, 4, 2, 16, 150, 20, false, /*masked=*/true});
  check_problem({1, 1, 4, 2, 16, 600, 20, false, /*masked=*/true});
}

TEST(a_row_without_visible_keys_is_not_a_number) {
  const std::vector<float> ones(8, 1.0f);
  const std::vector<float> mask(1, -std::numeric_limits<float>::infinity());
  std::vector<float> output(8, 0.0f);
  CHECK(ptefoundry::run_attention({ones.data(), ones.data(), ones.data(),
                                   mask.data(), output.data(), 1, 1, 1, 1, 8, 1,
                                   1, 0, false, 1.0f}));
  CHECK(std::isnan(output[0]));
}

TEST(the_number_of_threads_does_not_change_a_bit) {
  double worst = 0;
  const Problem problem = {1, 40, 9, 3, 64, 900, 800};
  const Problem single = {1, 1, 9, 3, 64, 900, 850};
  const auto block = run(problem, &worst);
  const auto row = run(single, &worst);
  for (const int threads : {1, 3}) {
    CHECK(ptefoundry::set_thread_count(threads).ok());
    CHECK(run(problem, &worst) == block);
    CHECK(run(single, &worst) == row);
  }
}

}  // namespace
