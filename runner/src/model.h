// A causal language model with its own KV cache, as the generator sees it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "result.h"

namespace ptefoundry {

struct ModelInfo {
  std::string path;
  std::string name;         // file name without its extension
  int64_t max_context_len;  // tokens the KV cache holds
  int64_t max_chunk_len;    // tokens one forward call takes at most
  int64_t vocab_size;       // width of the logits
  std::vector<int64_t> eos_ids;
};

// fp32 [size], valid until the next forward call of the same model.
struct Logits {
  const float* data;
  int64_t size;
};

class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelInfo& info() const = 0;

  // Feeds tokens [count] that stand at positions [position, position + count)
  // and returns the logits of the last one. 0 < count <= max_chunk_len and
  // position + count <= max_context_len. Position 0 starts a new history.
  virtual Result<Logits> forward(const int64_t* tokens, int64_t count,
                                 int64_t position) = 0;
};

}  // namespace ptefoundry
