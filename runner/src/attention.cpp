#include "attention.h"

#include <executorch/runtime/kernel/thread_parallel_interface.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "lanes.h"

namespace ptefoundry {
namespace {

constexpr int64_t kKeyBlock = 64;    // keys scored before a softmax update
constexpr int64_t kQueryBlock = 32;  // positions that share loaded keys
constexpr int64_t kSplitKeys = 256;  // keys per work item of a single query
constexpr int64_t kPackedRows = 8;   // rows from which packing keys pays
constexpr int64_t kSerialWork = 1 << 16;  // multiplications not worth a thread
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The part of one attention call that is computed in one go: some positions
// of all query heads that share a KV head, over some keys.
struct WorkItem {
  int64_t batch;
  int64_t kv_head;
  int64_t first_query;
  int64_t queries;
  int64_t first_key;
  int64_t last_key;  // exclusive
};

// Softmax state of `rows` query rows: sums are relative to exp(max).
struct State {
  float* weighted;  // [rows, head_dim]
  float* max;       // [rows]
  float* sum;       // [rows]
};

// Rows of a work item run over positions, then over the heads of a position.
PTEFOUNDRY_INLINE int64_t query_offset(const Attention& a, const WorkItem& item,
                                       int64_t row) {
  const int64_t group = a.heads / a.kv_heads;
  const int64_t position =
      item.batch * a.queries + item.first_query + row / group;
  return (position * a.heads + item.kv_head * group + row % group) * a.head_dim;
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
  std::fill_n(packed, kKeyBlock * a.head_dim, 0.0f);
  for (int64_t j = 0; j < key_count; ++j) {
    for (int64_t d = 0; d < a.head_dim; ++d) {
      packed[d * kKeyBlock + j] = keys[j * stride + d];
    }
  }
  std::fill_n(scores, rows * kKeyBlock, 0.0f);
  multiply({query, a.head_dim}, {packed, kKeyBlock}, scores, kKeyBlock, rows,
           a.head_dim, kKeyBlock);
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

PTEFOUNDRY_FOR_EACH_PROCESSOR
void attend(const Attention& a, const WorkItem& item, const State& state,
            std::vector<float>& scratch) {
  const int64_t group = a.heads / a.kv_heads;
  const int64_t rows = item.queries * group;
  scratch.resize(rows * (a.head_dim + kKeyBlock) + kKeyBlock * a.head_dim);
  float* query = scratch.data();              // [rows, head_dim], scaled
  float* scores = query + rows * a.head_dim;  // [rows, kKeyBlock]
  float* packed = scores + rows * kKeyBlock;  // [head_dim, kKeyBlock]
  for (int64_t row = 0; row < rows; ++row) {
    const float* source = a.query + query_offset(a, item, row);
    for (int64_t d = 0; d < a.head_dim; ++d) {
      query[row * a.head_dim + d] = source[d] * a.scale;
    }
  }
  std::fill_n(state.weighted, rows * a.head_dim, 0.0f);
  std::fill_n(state.max, rows, -kInfinity);
  std::fill_n(state.sum, rows, 0.0f);

  int64_t last_key = item.last_key;
  if (a.causal) {
    last_key =
        std::min(last_key, a.start_pos + item.first_query + item.queries);
  }
  const int64_t stride = a.kv_heads * a.head_dim;
  for (int64_t first = item.first_key; first < last_key; first += kKeyBlock) {
    const int64_t count = std::min(kKeyBlock, last_key - first);
    const int64_t offset =
        (item.batch * a.capacity + first) * stride + item.kv_head * a.head_dim;
    score_block(a, query, rows, a.key + offset, count, packed, scores);
    for (int64_t row = 0; row < rows; ++row) {
      soften_row(a, item.first_query + row / group, first, count,
                 scores + row * kKeyBlock, state.weighted + row * a.head_dim,
                 state.max + row, state.sum + row);
    }
    multiply({scores, kKeyBlock}, {a.value + offset, stride}, state.weighted,
             a.head_dim, rows, count, a.head_dim);
  }
}

// Merges the states of the same rows over different keys and normalises.
void finish(const Attention& a, const WorkItem& unit, const State* parts,
            int64_t part_count) {
  const int64_t rows = unit.queries * (a.heads / a.kv_heads);
  for (int64_t row = 0; row < rows; ++row) {
    float max = -kInfinity;
    for (int64_t p = 0; p < part_count; ++p) {
      max = std::max(max, parts[p].max[row]);
    }
    float* output = a.output + query_offset(a, unit, row);
    std::fill_n(output, a.head_dim, 0.0f);
    float sum = 0;
    for (int64_t p = 0; p < part_count; ++p) {
      const State& part = parts[p];
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

// All keys of one block of positions of one KV head.
WorkItem make_unit(const Attention& a, int64_t blocks, int64_t index) {
  // With causal attention late blocks cost most: alternate early and late
  // ones, so that threads which take neighbours get equal shares.
  const int64_t turn = index % blocks;
  const int64_t block = turn % 2 == 0 ? turn / 2 : blocks - 1 - turn / 2;
  const int64_t first_query = block * kQueryBlock;
  return {index / blocks / a.kv_heads,
          index / blocks % a.kv_heads,
          first_query,
          std::min(kQueryBlock, a.queries - first_query),
          0,
          a.keys};
}

}  // namespace

bool run_attention(const Attention& a) {
  const int64_t blocks = (a.queries + kQueryBlock - 1) / kQueryBlock;
  const int64_t units = a.batch * a.kv_heads * blocks;
  // A single query has too few units to go round, so its keys are split too;
  // where does not depend on the number of threads, nor does the result.
  const int64_t splits =
      a.queries == 1 ? (a.keys + kSplitKeys - 1) / kSplitKeys : 1;
  const int64_t split_keys = splits == 1 ? a.keys : kSplitKeys;
  const int64_t max_rows =
      std::min(a.queries, kQueryBlock) * (a.heads / a.kv_heads);
  const int64_t state_floats = max_rows * (a.head_dim + 2);

  static thread_local std::vector<float> buffer;
  buffer.resize(units * splits * state_floats);
  std::vector<State> states(units * splits);
  for (size_t i = 0; i < states.size(); ++i) {
    float* weighted = buffer.data() + i * state_floats;
    float* max = weighted + max_rows * a.head_dim;
    states[i] = {weighted, max, max + max_rows};
  }

  const auto attend_range = [&](int64_t begin, int64_t end) {
    static thread_local std::vector<float> scratch;
    for (int64_t i = begin; i < end; ++i) {
      WorkItem item = make_unit(a, blocks, i / splits);
      item.first_key = i % splits * split_keys;
      item.last_key = std::min(a.keys, item.first_key + split_keys);
      attend(a, item, states[i], scratch);
    }
  };
  const auto finish_range = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      finish(a, make_unit(a, blocks, i), &states[i * splits], splits);
    }
  };
  const int64_t work = a.batch * a.queries * a.heads * a.keys * a.head_dim;
  const bool serial = work < kSerialWork;
  const int64_t attend_grain = serial ? units * splits : 1;
  const int64_t finish_grain = serial || a.queries == 1 ? units : 1;
  return executorch::extension::parallel_for(0, units * splits, attend_grain,
                                             attend_range) &&
         executorch::extension::parallel_for(0, units, finish_grain,
                                             finish_range);
}

}  // namespace ptefoundry
