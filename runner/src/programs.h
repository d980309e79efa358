// Programs by name: in memory, or loaded when somebody asks for them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "generate.h"
#include "memory_use.h"
#include "program.h"
#include "result.h"
#include "weight_shapes.h"

namespace ptefoundry {

struct LoadedProgram {
  LoadedProgram(std::unique_ptr<Program> program, WeightShapes weights,
                std::vector<int64_t> eos_ids, double load_s)
      : program(std::move(program)),
        weights(std::move(weights)),
        history(*this->program),
        eos_ids(std::move(eos_ids)),
        load_s(load_s),
        after_load(read_memory_use()) {}

  std::unique_ptr<Program> program;
  WeightShapes weights;          // empty without a weight cache
  History history;               // for conversations that go on
  std::vector<int64_t> eos_ids;  // of the program and of the chat template
  double load_s;
  MemoryUse after_load;  // of the process
};

struct ProgramSlot {
  std::string name;  // of the file, without its extension
  std::string path;
  std::unique_ptr<LoadedProgram> loaded;  // null if it is not in memory
};

class Programs {
 public:
  Programs() = default;
  // `eos_ids` end answers of every program, beside its own.
  Programs(std::vector<std::string> data_files, LoadOptions options,
           std::vector<int64_t> eos_ids)
      : data_files_(std::move(data_files)),
        options_(std::move(options)),
        eos_ids_(std::move(eos_ids)) {}

  // Takes note of a program without loading it.
  void add(const std::string& path);

  const std::vector<ProgramSlot>& slots() const { return slots_; }

  // Whether there is such a program and it is in memory.
  bool is_loaded(const std::string& name) const;

  // The program of that name, after loading it unless it is in memory.
  Result<LoadedProgram*> get(const std::string& name);
  Status load(size_t slot);

  // Fails if there is no such program in memory.
  Status unload(const std::string& name);

 private:
  Result<ProgramSlot*> find(const std::string& name);
  // The weights of a program, none of which may be mistaken for one of another
  // shape that is in memory.
  Result<WeightShapes> read_weights(const ProgramSlot& slot) const;

  std::vector<std::string> data_files_;
  LoadOptions options_;
  std::vector<int64_t> eos_ids_;
  std::vector<ProgramSlot> slots_;
};

}  // namespace ptefoundry
