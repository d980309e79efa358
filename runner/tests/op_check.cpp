// Runs the registered attention operators on the cases of a JSON file and
// prints what they give, for comparison with another implementation.
//
//   [{"op": "llama::custom_sdpa.out", "arguments": [tensor, ..., null, 0.5]}]
//
// A tensor is {"shape": [...], "data": [...]}; the last argument is `out`. The
// result of a case is the data of its tensors afterwards, or null on failure.

#include <executorch/extension/tensor/tensor_ptr_maker.h>
#include <executorch/runtime/kernel/kernel_includes.h>
#include <executorch/runtime/kernel/operator_registry.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <vector>

#include "attention_ops.h"
#include "error_log.h"
#include "files.h"

namespace {

using executorch::extension::TensorPtr;
using executorch::runtime::EValue;
using nlohmann::json;

TensorPtr make_tensor(const json& spec) {
  return executorch::extension::make_tensor_ptr(
      spec.at("shape").get<std::vector<executorch::aten::SizesType>>(),
      spec.at("data").get<std::vector<float>>());
}

EValue make_value(const json& argument, std::vector<TensorPtr>& tensors) {
  if (argument.is_object()) {
    tensors.push_back(make_tensor(argument));
    return EValue(*tensors.back());
  }
  if (argument.is_null()) {
    return EValue();
  }
  if (argument.is_boolean()) {
    return EValue(argument.get<bool>());
  }
  return argument.is_number_integer() ? EValue(argument.get<int64_t>())
                                      : EValue(argument.get<double>());
}

json run_case(const json& spec) {
  std::vector<TensorPtr> tensors;
  std::vector<EValue> values;
  for (const json& argument : spec.at("arguments")) {
    values.push_back(make_value(argument, tensors));
  }
  std::vector<EValue*> stack;
  for (EValue& value : values) {
    stack.push_back(&value);
  }
  const auto name = spec.at("op").get<std::string>();
  const auto kernel =
      executorch::runtime::get_op_function_from_registry(name.c_str());
  if (!kernel.ok()) {
    return nullptr;
  }
  executorch::runtime::KernelRuntimeContext context;
  (*kernel)(context, {stack.data(), stack.size()});
  if (context.failure_state() != executorch::runtime::Error::Ok) {
    return nullptr;
  }
  json results = json::array();
  for (const TensorPtr& tensor : tensors) {
    const float* data = tensor->const_data_ptr<float>();
    results.push_back(std::vector<float>(data, data + tensor->numel()));
  }
  return results;
}

}  // namespace

int main(int argc, char** argv) {
  const auto text = ptefoundry::read_text_file(argc > 1 ? argv[1] : "");
  if (!text.ok()) {
    std::cerr << text.failure().message << "\n";
    return 1;
  }
  ptefoundry::capture_runtime_log(/*verbose=*/false);
  ptefoundry::register_attention_ops();
  json results = json::array();
  for (const json& spec : json::parse(text.value())) {
    results.push_back(run_case(spec));
  }
  std::cout << results << "\n";
}
