// Scaled dot-product attention over a KV cache, on plain fp32 arrays.
#pragma once

#include <cstdint>

namespace ptefoundry {

// Row-major arrays; query head h reads KV head h / (heads / kv_heads).
struct Attention {
  const float* query;  // [batch, queries, heads, head_dim]
  const float* key;    // [batch, capacity, kv_heads, head_dim]
  const float* value;  // [batch, capacity, kv_heads, head_dim]
  const float* mask;   // [queries, keys], added to the scores; may be null
  float* output;       // [batch, queries, heads, head_dim]
  int64_t batch;
  int64_t queries;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t capacity;   // length of the caches
  int64_t keys;       // how many of them take part
  int64_t start_pos;  // position of the first query
  bool causal;        // a query sees no key behind its own position
  float scale;
};

// Runs on the runtime's thread pool. The result does not depend on the number
// of threads. Returns false if the pool refused the work.
bool run_attention(const Attention& attention);

}  // namespace ptefoundry
