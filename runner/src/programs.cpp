#include "programs.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

namespace ptefoundry {

void Programs::add(const std::string& path) {
  slots_.push_back({std::filesystem::path(path).stem().string(), path, {}});
}

bool Programs::is_loaded(const std::string& name) const {
  return std::any_of(slots_.begin(), slots_.end(), [&](const ProgramSlot& s) {
    return s.name == name && s.loaded != nullptr;
  });
}

Result<LoadedProgram*> Programs::get(const std::string& name) {
  ASSIGN_OR_RETURN(ProgramSlot* const slot, find(name));
  if (slot->loaded == nullptr) {
    RETURN_IF_FAILED(load(static_cast<size_t>(slot - slots_.data())));
  }
  return slot->loaded.get();
}

Status Programs::load(size_t index) {
  ProgramSlot& slot = slots_[index];
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(WeightShapes weights, read_weights(slot));
  ASSIGN_OR_RETURN(auto program,
                   Program::load(slot.path, data_files_, options_));
  const std::chrono::duration<double> elapsed =
      std::chrono::steady_clock::now() - start;
  std::vector<int64_t> eos_ids = program->info().eos_ids;
  eos_ids.insert(eos_ids.end(), eos_ids_.begin(), eos_ids_.end());
  slot.loaded = std::make_unique<LoadedProgram>(
      std::move(program), std::move(weights), std::move(eos_ids),
      elapsed.count());
  return Done{};
}

Result<WeightShapes> Programs::read_weights(const ProgramSlot& slot) const {
  if (!options_.weight_cache) {
    return WeightShapes();
  }
  ASSIGN_OR_RETURN(WeightShapes weights, read_weight_shapes(slot.path));
  for (const ProgramSlot& other : slots_) {
    if (other.loaded != nullptr) {
      RETURN_IF_FAILED(check_shapes(slot.path, weights, other.name,
                                    other.loaded->weights));
    }
  }
  return weights;
}

Status Programs::unload(const std::string& name) {
  ASSIGN_OR_RETURN(ProgramSlot* const slot, find(name));
  if (slot->loaded == nullptr) {
    return Failure{"adapter '" + name + "' is not loaded"};
  }
  slot->loaded.reset();
  give_back_freed_memory();
  return Done{};
}

Result<ProgramSlot*> Programs::find(const std::string& name) {
  std::string known;
  for (ProgramSlot& slot : slots_) {
    if (slot.name == name) {
      return &slot;
    }
    known += (known.empty() ? "" : ", ") + slot.name;
  }
  return Failure{"there is no adapter '" + name + "'; there are " + known};
}

}  // namespace ptefoundry
