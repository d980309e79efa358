#include "attention.h"

#include <executorch/runtime/kernel/thread_parallel_interface.h>

#include <algorithm>
#include <vector>

#include "attention_kernel.h"

namespace ptefoundry {
namespace {

constexpr int64_t kQueryBlock = 32;  // positions that share loaded keys
constexpr int64_t kSplitKeys = 128;  // keys per work item of a single query
constexpr int64_t kSerialWork = 1 << 16;  // multiplications not worth a thread

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

// How one call is cut into work items.
struct Plan {
  explicit Plan(const Attention& a)
      : blocks((a.queries + kQueryBlock - 1) / kQueryBlock),
        units(a.batch * a.kv_heads * blocks),
        // A single query is memory's work: all heads go together, and its keys
        // are split, so that there is enough to go round. Where they are does
        // not depend on the number of threads, nor does the result.
        together(a.queries == 1 ? a.kv_heads : 1),
        splits(a.queries == 1 ? (a.keys + kSplitKeys - 1) / kSplitKeys : 1),
        split_keys(splits == 1 ? a.keys : kSplitKeys),
        max_rows(std::min(a.queries, kQueryBlock) * (a.heads / a.kv_heads)) {}

  int64_t blocks;      // of positions
  int64_t units;       // (batch, KV head, block of positions)
  int64_t together;    // units, of neighbouring heads, in one work item
  int64_t splits;      // work items of a unit
  int64_t split_keys;  // of a work item
  int64_t max_rows;    // of a unit
};

}  // namespace

bool run_attention(const Attention& a) {
  const Plan plan(a);
  const int64_t state_floats = plan.max_rows * (a.head_dim + 2);
  static thread_local std::vector<float> buffer;
  buffer.resize(plan.units * plan.splits * state_floats);
  std::vector<State> states(plan.units * plan.splits);  // by split, then unit
  for (size_t i = 0; i < states.size(); ++i) {
    float* weighted = buffer.data() + i * state_floats;
    float* max = weighted + plan.max_rows * a.head_dim;
    states[i] = {weighted, max, max + plan.max_rows};
  }

  const int64_t groups = plan.units / plan.together;
  const auto attend_range = [&](int64_t begin, int64_t end) {
    static thread_local std::vector<float> scratch;
    std::vector<WorkItem> items(plan.together);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t split = i / groups;
      const int64_t first_unit = i % groups * plan.together;
      for (int64_t k = 0; k < plan.together; ++k) {
        items[k] = make_unit(a, plan.blocks, first_unit + k);
        items[k].first_key = split * plan.split_keys;
        items[k].last_key =
            std::min(a.keys, items[k].first_key + plan.split_keys);
      }
      attend(a, items.data(), &states[split * plan.units + first_unit],
             plan.together, scratch);
    }
  };
  const auto finish_range = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      finish(a, make_unit(a, plan.blocks, i), &states[i], plan.splits,
             plan.units);
    }
  };
  const int64_t items = groups * plan.splits;
  const int64_t work = a.batch * a.queries * a.heads * a.keys * a.head_dim;
  const bool serial = work < kSerialWork;
  const int64_t attend_grain = serial ? items : 1;
  const int64_t finish_grain = serial || a.queries == 1 ? plan.units : 1;
  return executorch::extension::parallel_for(0, items, attend_grain,
                                             attend_range) &&
         executorch::extension::parallel_for(0, plan.units, finish_grain,
                                             finish_range);
}

}  // namespace ptefoundry
