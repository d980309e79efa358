// The arithmetic of attention: some positions of some heads over some keys.
#pragma once

#include <cstdint>
#include <vector>

#include "attention.h"

namespace ptefoundry {

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

// Computes the states of work items over the same positions and keys, of
// neighbouring KV heads. `scratch` is memory to work in.
void attend(const Attention& a, const WorkItem* items, const State* states,
            int64_t item_count, std::vector<float>& scratch);

// Merges the states of the same rows over different keys, `step` apart, and
// writes what they give to the output.
void finish(const Attention& a, const WorkItem& unit, const State* parts,
            int64_t part_count, int64_t step);

}  // namespace ptefoundry
