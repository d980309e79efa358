// What a program says about itself, checked against what the runner needs.
#pragma once

#include <executorch/extension/module/module.h>

#include <string>

#include "model.h"
#include "result.h"

namespace ptefoundry {

// Reads the signature of `forward` and the constant methods of a loaded
// program (`get_max_context_len`, `get_max_seq_len`, `get_vocab_size`,
// `get_eos_ids`, `use_kv_cache`, `enable_dynamic_shape`). A missing constant is
// inferred from the signature where that is possible.
Result<ModelInfo> read_model_info(executorch::extension::Module& module,
                                  const std::string& path);

}  // namespace ptefoundry
