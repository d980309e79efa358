// An ExecuTorch program over its data files.
#pragma once

#include <executorch/extension/module/module.h>

#include <memory>
#include <string>
#include <vector>

#include "model.h"
#include "planned_memory.h"
#include "result.h"

namespace ptefoundry {

struct LoadOptions {
  bool mmap = true;          // map the files instead of reading them
  bool weight_cache = true;  // pack equal weights once for all programs
  std::string packed_file;   // that holds packed weights; empty: none
};

// Sets the size of the thread pool that every program shares. Only takes
// effect for programs that are loaded afterwards.
Status set_thread_count(int count);

// Runs `forward(tokens int64 [1, n], input_pos int64 [1])`, which returns
// logits fp32 [1, vocab] or [1, n, vocab]; only the last row is used.
class Program : public Model {
 public:
  static Result<std::unique_ptr<Program>> load(
      const std::string& path, const std::vector<std::string>& data_files,
      const LoadOptions& options);

  const ModelInfo& info() const override { return info_; }
  Result<Logits> forward(const int64_t* tokens, int64_t count,
                         int64_t position) override;

 private:
  Program(std::unique_ptr<PlannedMemory> memory,
          std::unique_ptr<executorch::extension::Module> module,
          ModelInfo info);

  std::unique_ptr<PlannedMemory> memory_;  // outlives the module
  std::unique_ptr<executorch::extension::Module> module_;
  ModelInfo info_;
};

}  // namespace ptefoundry
