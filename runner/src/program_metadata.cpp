#include "program_metadata.h"

#include <executorch/runtime/backend/interface.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <unordered_set>
#include <vector>

namespace ptefoundry {
namespace {

using executorch::aten::ScalarType;
using executorch::extension::Module;
using executorch::runtime::EValue;
using executorch::runtime::MethodMeta;
using executorch::runtime::Tag;
using executorch::runtime::TensorInfo;

constexpr char kSignature[] =
    "forward(tokens int64 [1, n], input_pos int64 [1]) -> logits fp32";

// The sizes [1, n] and the width of the logits at the largest n.
struct Signature {
  int64_t max_tokens;
  int64_t logits_width;
};

Failure wrong_signature(const std::string& path, const std::string& found) {
  return Failure{path + ": expected " + kSignature + ", found " + found +
                 "; export it with a KV cache and these inputs"};
}

Status check_backends(const MethodMeta& meta, const std::string& path) {
  for (size_t i = 0; i < meta.num_backends(); ++i) {
    const auto name = meta.get_backend_name(i);
    if (!name.ok()) {
      return Failure{path + ": cannot list its backends; build it again"};
    }
    if (executorch::runtime::get_backend_class(*name) == nullptr) {
      return Failure{path + ": needs the backend " + *name +
                     ", this runner has XnnpackBackend; use a program that was "
                     "built for it"};
    }
  }
  return Done{};
}

Result<Signature> read_signature(Module& module, const std::string& path) {
  const auto meta = module.method_meta("forward");
  if (!meta.ok()) {
    return wrong_signature(path, "no method 'forward'");
  }
  RETURN_IF_FAILED(check_backends(*meta, path));
  if (meta->num_inputs() != 2 || meta->num_outputs() < 1) {
    return wrong_signature(
        path, std::to_string(meta->num_inputs()) + " inputs and " +
                  std::to_string(meta->num_outputs()) + " outputs");
  }
  for (size_t i = 0; i < 2; ++i) {
    const auto tag = meta->input_tag(i);
    const auto input = meta->input_tensor_meta(i);
    if (!tag.ok() || *tag != Tag::Tensor || !input.ok() ||
        input->scalar_type() != ScalarType::Long) {
      return wrong_signature(
          path, "input " + std::to_string(i) + " is not an int64 tensor");
    }
  }
  const auto tokens = meta->input_tensor_meta(0);
  if (tokens->sizes().size() != 2 || tokens->sizes()[0] != 1) {
    return wrong_signature(path, "tokens of another shape");
  }
  const auto logits = meta->output_tensor_meta(0);
  if (!logits.ok() || logits->scalar_type() != ScalarType::Float ||
      logits->sizes().empty()) {
    return wrong_signature(path, "an output that is not an fp32 tensor");
  }
  return Signature{tokens->sizes()[1],
                   logits->sizes()[logits->sizes().size() - 1]};
}

// A list comes back as several outputs, or as one list or one tensor.
bool append_integers(const EValue& value, std::vector<int64_t>& integers) {
  if (value.isInt()) {
    integers.push_back(value.toInt());
  } else if (value.isBool()) {
    integers.push_back(value.toBool() ? 1 : 0);
  } else if (value.isIntList()) {
    const auto list = value.toIntList();
    integers.insert(integers.end(), list.begin(), list.end());
  } else if (value.isTensor() &&
             value.toTensor().scalar_type() == ScalarType::Long) {
    const auto tensor = value.toTensor();
    const auto* data = tensor.const_data_ptr<int64_t>();
    integers.insert(integers.end(), data, data + tensor.numel());
  } else {
    return false;
  }
  return true;
}

class Constants {
 public:
  Constants(Module& module, const std::string& path,
            std::unordered_set<std::string> names)
      : module_(module), path_(path), names_(std::move(names)) {}

  // Empty if the program has no such constant.
  Result<std::vector<int64_t>> list(const std::string& name) {
    std::vector<int64_t> integers;
    if (names_.count(name) == 0) {
      return integers;
    }
    const auto outputs = module_.execute(name);
    bool readable = outputs.ok();
    for (size_t i = 0; readable && i < outputs->size(); ++i) {
      readable = append_integers(outputs->at(i), integers);
    }
    module_.unload_method(name);
    if (!readable) {
      return Failure{path_ + ": its constant '" + name +
                     "' is not an integer or a list of integers; export it "
                     "again"};
    }
    return integers;
  }

  Result<std::optional<int64_t>> integer(const std::string& name) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> integers, list(name));
    if (integers.empty()) {
      return std::optional<int64_t>();
    }
    return std::optional<int64_t>(integers.front());
  }

 private:
  Module& module_;
  const std::string& path_;
  const std::unordered_set<std::string> names_;
};

Result<int64_t> chunk_length(Constants& constants, const Signature& signature,
                             const std::string& path) {
  ASSIGN_OR_RETURN(const auto max_seq_len,
                   constants.integer("get_max_seq_len"));
  ASSIGN_OR_RETURN(const auto dynamic,
                   constants.integer("enable_dynamic_shape"));
  if (dynamic == 0 && signature.max_tokens != 1) {
    return wrong_signature(
        path, "a static n of " + std::to_string(signature.max_tokens));
  }
  // Exporters commonly bound n below the length they state.
  return std::min(max_seq_len.value_or(signature.max_tokens),
                  signature.max_tokens);
}

}  // namespace

Result<ModelInfo> read_model_info(Module& module, const std::string& path) {
  ASSIGN_OR_RETURN(const Signature signature, read_signature(module, path));
  auto names = module.method_names();
  if (!names.ok()) {
    return Failure{path + ": cannot list its methods; build it again"};
  }
  Constants constants(module, path, std::move(*names));

  ASSIGN_OR_RETURN(const auto kv_cache, constants.integer("use_kv_cache"));
  if (kv_cache == 0) {
    return wrong_signature(path, "a program without a KV cache");
  }
  ASSIGN_OR_RETURN(const int64_t max_chunk_len,
                   chunk_length(constants, signature, path));
  ASSIGN_OR_RETURN(auto max_context_len,
                   constants.integer("get_max_context_len"));
  if (!max_context_len.has_value()) {
    ASSIGN_OR_RETURN(max_context_len, constants.integer("get_max_seq_len"));
  }
  if (max_chunk_len < 1 || max_context_len.value_or(0) < 1) {
    return Failure{path +
                   ": needs the constant 'get_max_context_len' or "
                   "'get_max_seq_len', at least 1; export it with one of them"};
  }
  ASSIGN_OR_RETURN(const auto vocab_size, constants.integer("get_vocab_size"));
  if (vocab_size.value_or(signature.logits_width) != signature.logits_width) {
    return Failure{path + ": 'get_vocab_size' is " +
                   std::to_string(*vocab_size) + ", but the logits are " +
                   std::to_string(signature.logits_width) +
                   " wide; export it again"};
  }
  ASSIGN_OR_RETURN(std::vector<int64_t> eos_ids, constants.list("get_eos_ids"));
  return ModelInfo{path,
                   std::filesystem::path(path).stem().string(),
                   *max_context_len,
                   max_chunk_len,
                   signature.logits_width,
                   std::move(eos_ids)};
}

}  // namespace ptefoundry
