#include "program.h"

#include <executorch/extension/tensor/tensor_ptr_maker.h>

#include "attention_ops.h"
#include "error_log.h"
#include "files.h"
#include "program_metadata.h"

// The wheel exports the thread pool but ships no header that declares it.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(uint32_t thread_count);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace ptefoundry {
namespace {

using executorch::aten::ScalarType;
using executorch::extension::Module;
using executorch::runtime::BackendOptions;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::LoadBackendOptionsMap;

constexpr char kXnnpack[] = "XnnpackBackend";
using XnnpackOptions = BackendOptions<2>;

Failure runtime_failure(const std::string& what, Error error) {
  const std::string details = runtime_errors();
  return Failure{what + " (" + executorch::runtime::to_string(error) +
                 (details.empty() ? "" : ": " + details) + ")"};
}

Result<XnnpackOptions> xnnpack_options(const LoadOptions& options) {
  XnnpackOptions xnnpack;
  Error error =
      xnnpack.set_option("weight_cache_enabled", options.weight_cache);
  // The backend writes the file's index after each delegate by itself.
  if (error == Error::Ok && !options.packed_file.empty()) {
    error =
        xnnpack.set_option("packed_cache_path", options.packed_file.c_str());
  }
  if (error != Error::Ok) {
    return runtime_failure("cannot set the XNNPACK options", error);
  }
  return xnnpack;
}

std::string join(const std::vector<std::string>& paths) {
  std::string joined;
  for (const std::string& path : paths) {
    joined += (joined.empty() ? "" : ", ") + path;
  }
  return joined;
}

// The runtime reports a tensor that no data file has in several ways, by
// backend; the words of its log tell it from other failures.
bool is_missing_data(Error error, const std::string& log) {
  const auto logged = [&](const char* words) {
    return log.find(words) != std::string::npos;
  };
  return error == Error::NotFound || error == Error::InvalidExternalData ||
         logged("data_map") || logged("data map");
}

Failure load_failure(const std::string& path,
                     const std::vector<std::string>& data_files, Error error) {
  if (!is_missing_data(error, runtime_errors())) {
    return runtime_failure(path + ": cannot load its forward method", error);
  }
  if (data_files.empty()) {
    return runtime_failure(path +
                               " needs tensors from a data file; pass its "
                               "foundation with --data",
                           error);
  }
  return runtime_failure(
      path + " needs tensors that " + join(data_files) +
          " does not have; they come from different builds, pass the "
          "foundation that was built with this program",
      error);
}

}  // namespace

Status set_thread_count(int count) {
  auto* pool = executorch::extension::threadpool::get_threadpool();
  if (pool == nullptr ||
      !pool->_unsafe_reset_threadpool(static_cast<uint32_t>(count))) {
    return Failure{"--threads " + std::to_string(count) +
                   ": cannot make a thread pool of this size"};
  }
  return Done{};
}

Program::Program(std::unique_ptr<PlannedMemory> memory,
                 std::unique_ptr<Module> module, ModelInfo info)
    : memory_(std::move(memory)),
      module_(std::move(module)),
      info_(std::move(info)) {}

Result<std::unique_ptr<Program>> Program::load(
    const std::string& path, const std::vector<std::string>& data_files,
    const LoadOptions& options) {
  RETURN_IF_FAILED(check_program_file(path));
  for (const std::string& data_file : data_files) {
    RETURN_IF_FAILED(check_data_file(data_file));
  }
  register_attention_ops();
  ASSIGN_OR_RETURN(XnnpackOptions xnnpack, xnnpack_options(options));
  LoadBackendOptionsMap backends;
  Error error = backends.set_options(kXnnpack, xnnpack.view());
  if (error != Error::Ok) {
    return runtime_failure("cannot set the XNNPACK options", error);
  }

  forget_runtime_errors();
  auto module = std::make_unique<Module>(
      path, data_files,
      options.mmap ? Module::LoadMode::Mmap : Module::LoadMode::File);
  error = module->load(
      backends,
      executorch::runtime::Program::Verification::InternalConsistency);
  if (error != Error::Ok) {
    return runtime_failure(
        path + " is damaged or not made for this ExecuTorch; build it again",
        error);
  }
  ASSIGN_OR_RETURN(ModelInfo info, read_model_info(*module, path));
  Result<std::unique_ptr<PlannedMemory>> memory =
      PlannedMemory::allocate(*module, "forward");
  if (!memory.ok()) {
    return Failure{path + ": " + memory.failure().message};
  }
  error = module->load_method("forward", memory.value()->allocator());
  if (error != Error::Ok) {
    return load_failure(path, data_files, error);
  }
  return std::unique_ptr<Program>(
      new Program(std::move(memory).value(), std::move(module),
                  std::move(info)));
}

Result<Logits> Program::forward(const int64_t* tokens, int64_t count,
                                int64_t position) {
  // The runtime takes a mutable pointer but never writes to an input.
  auto token_tensor = executorch::extension::from_blob(
      const_cast<int64_t*>(tokens),
      {1, static_cast<executorch::aten::SizesType>(count)}, ScalarType::Long);
  auto position_tensor =
      executorch::extension::from_blob(&position, {1}, ScalarType::Long);
  forget_runtime_errors();
  const auto outputs =
      module_->forward({EValue(*token_tensor), EValue(*position_tensor)});
  if (!outputs.ok()) {
    return runtime_failure(info_.path + ": running " + std::to_string(count) +
                               " tokens at position " +
                               std::to_string(position) + " failed",
                           outputs.error());
  }
  const auto& logits = outputs->front().toTensor();
  const int64_t rows = logits.numel() / info_.vocab_size;
  if (rows != 1 && rows != count) {
    return Failure{info_.path + ": expected logits of 1 or " +
                   std::to_string(count) + " positions, found " +
                   std::to_string(rows) + "; export it again"};
  }
  return Logits{logits.const_data_ptr<float>() + (rows - 1) * info_.vocab_size,
                info_.vocab_size};
}

}  // namespace ptefoundry
