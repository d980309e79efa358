#include "attention_kernel.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lanes.h"

namespace ptefoundry {
namespace {

constexpr int64_t kKeyBlock = 64;   // keys scored before a softmax update
constexpr int64_t kPackedRows = 8;  // rows from which packing keys pays
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Rows of a work item run over positions, then over the heads of a position.
PTEFOUNDRY_INLINE int64_t query_offset(const Attention& a, const WorkItem& item,
                                       int64_t row) {
  const int64_t group = a.heads / a.kv_heads;
  const int64_t position =
      item.batch * a.queries + item.first_query + row / group;
  return (position * a.heads + item.kv_head * group + row % group) * a.head_dim;
}

// Asks for memory that is read soon.
PTEFOUNDRY_INLINE void prefetch(const float* data, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(float);
  constexpr int kIntoL2 = 2;
  for (int64_t i = 0; i < count; i += kLine) {
    __builtin_prefetch(data + i, /*rw=*/0, kIntoL2);
  }
}

PTEFOUNDRY_INLINE void score_block(const Attention& a, const float* query,
                                   int64_t rows, const float* keys,
                                   int64_t key_count, float* packed,
                                   float* scores) {
  const int64_t stride = a.kv_heads * a.head_dim;
  if (rows < kPackedRows) {
    for (int64_t j = 0; j < key_count; j += kLanes) {
      const float* each[kLanes];
      for (int64_t k = 0; k < kLanes; ++k) {
        // Past the end stands the last key again; nobody reads its score.
        each[k] = keys + std::min(j + k, key_count - 1) * stride;
      }
      for (int64_t row = 0; row < rows; ++row) {
        store(scores + row * kKeyBlock + j,
              dot_each(query + row * a.head_dim, each, a.head_dim));
      }
    }
    return;
  }
  transpose({keys, stride}, packed, kKeyBlock, key_count, a.head_dim);
  std::fill_n(scores, rows * kKeyBlock, 0.0f);
  multiply({query, a.head_dim}, {packed, kKeyBlock}, scores, kKeyBlock, rows,
           a.head_dim, key_count);
}

// Masks one row of scores, turns it into weights and rescales its state.
PTEFOUNDRY_INLINE void soften_row(const Attention& a, int64_t query,
                                  int64_t first_key, int64_t key_count,
                                  float* scores, float* weighted, float* max,
                                  float* sum) {
  const int64_t visible =
      a.causal ? std::clamp<int64_t>(a.start_pos + query + 1 - first_key, 0,
                                     key_count)
               : key_count;
  std::fill(scores + visible, scores + kKeyBlock, -kInfinity);
  if (a.mask != nullptr) {
    const float* mask = a.mask + query * a.keys + first_key;
    for (int64_t j = 0; j < visible; ++j) {
      scores[j] += mask[j];
    }
  }
  Lanes largest = load(scores);
  for (int64_t j = kLanes; j < kKeyBlock; j += kLanes) {
    const Lanes x = load(scores + j);
    largest = x > largest ? x : largest;
  }
  float new_max = *max;
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    new_max = std::max(new_max, largest[lane]);
  }
  if (new_max == -kInfinity) {
    std::fill_n(scores, kKeyBlock, 0.0f);
    return;
  }
  Lanes block_sum = {};
  for (int64_t j = 0; j < kKeyBlock; j += kLanes) {
    const Lanes weights = exp_nonpositive(load(scores + j) - new_max);
    store(scores + j, weights);
    block_sum += weights;
  }
  if (new_max != *max) {
    const float rescale = std::exp(*max - new_max);
    *sum *= rescale;
    for (int64_t d = 0; d < a.head_dim; ++d) {
      weighted[d] *= rescale;
    }
    *max = new_max;
  }
  *sum += add_lanes(block_sum);
}

// Scaled queries of a work item, [rows, head_dim], and an empty state.
PTEFOUNDRY_INLINE void begin(const Attention& a, const WorkItem& item,
                             float* query, const State& state) {
  const int64_t rows = item.queries * (a.heads / a.kv_heads);
  for (int64_t row = 0; row < rows; ++row) {
    const float* source = a.query + query_offset(a, item, row);
    for (int64_t d = 0; d < a.head_dim; ++d) {
      query[row * a.head_dim + d] = source[d] * a.scale;
    }
  }
  std::fill_n(state.weighted, rows * a.head_dim, 0.0f);
  std::fill_n(state.max, rows, -kInfinity);
  std::fill_n(state.sum, rows, 0.0f);
}

}  // namespace

// Items go through the keys together: a position's keys of all heads lie side
// by side, and memory is read fastest in its order.
PTEFOUNDRY_FOR_EACH_PROCESSOR
void attend(const Attention& a, const WorkItem* items, const State* states,
            int64_t item_count, std::vector<float>& scratch) {
  const WorkItem& common = items[0];
  const int64_t group = a.heads / a.kv_heads;
  const int64_t rows = common.queries * group;
  scratch.resize(rows * (item_count * a.head_dim + kKeyBlock) +
                 kKeyBlock * a.head_dim);
  float* queries = scratch.data();  // [item_count, rows, head_dim]
  float* scores = queries + item_count * rows * a.head_dim;  // [rows, block]
  float* packed = scores + rows * kKeyBlock;  // [head_dim, block]
  for (int64_t i = 0; i < item_count; ++i) {
    begin(a, items[i], queries + i * rows * a.head_dim, states[i]);
  }

  int64_t last_key = common.last_key;
  if (a.causal) {
    last_key =
        std::min(last_key, a.start_pos + common.first_query + common.queries);
  }
  const int64_t stride = a.kv_heads * a.head_dim;
  for (int64_t first = common.first_key; first < last_key; first += kKeyBlock) {
    const int64_t count = std::min(kKeyBlock, last_key - first);
    const int64_t next = first + count;
    const int64_t ahead = std::min(kKeyBlock, last_key - next) * stride;
    for (int64_t i = 0; i < item_count; ++i) {
      const WorkItem& item = items[i];
      const State& state = states[i];
      const float* query = queries + i * rows * a.head_dim;
      const int64_t batch = item.batch * a.capacity;
      const int64_t offset =
          (batch + first) * stride + item.kv_head * a.head_dim;
      // Each item asks for its share of the next block, if all heads need it.
      const int64_t share = item_count == a.kv_heads ? ahead / item_count : 0;
      const int64_t soon = (batch + next) * stride + item.kv_head * share;
      prefetch(a.key + soon, share);
      score_block(a, query, rows, a.key + offset, count, packed, scores);
      for (int64_t row = 0; row < rows; ++row) {
        soften_row(a, item.first_query + row / group, first, count,
                   scores + row * kKeyBlock, state.weighted + row * a.head_dim,
                   state.max + row, state.sum + row);
      }
      prefetch(a.value + soon, share);
      multiply({scores, kKeyBlock}, {a.value + offset, stride}, state.weighted,
               a.head_dim, rows, count, a.head_dim);
    }
  }
}

void finish(const Attention& a, const WorkItem& unit, const State* parts,
            int64_t part_count, int64_t step) {
  const int64_t rows = unit.queries * (a.heads / a.kv_heads);
  for (int64_t row = 0; row < rows; ++row) {
    float max = -kInfinity;
    for (int64_t p = 0; p < part_count; ++p) {
      max = std::max(max, parts[p * step].max[row]);
    }
    float* output = a.output + query_offset(a, unit, row);
    std::fill_n(output, a.head_dim, 0.0f);
    float sum = 0;
    for (int64_t p = 0; p < part_count; ++p) {
      const State& part = parts[p * step];
      const float factor =
          part.max[row] == max ? 1.0f : std::exp(part.max[row] - max);
      sum += part.sum[row] * factor;
      for (int64_t d = 0; d < a.head_dim; ++d) {
        output[d] += part.weighted[row * a.head_dim + d] * factor;
      }
    }
    for (int64_t d = 0; d < a.head_dim; ++d) {
      output[d] /= sum;
    }
  }
}

}  // namespace ptefoundry
