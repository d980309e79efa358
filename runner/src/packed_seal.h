// The seal of a packed-weights file: what it, and what it was made of, looked
// like when it was complete.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "file_seal.h"
#include "result.h"

namespace ptefoundry {

// Stands beside the packed file as JSON.
struct PackedSeal {
  FileSeal packed;
  std::vector<FileSeal> sources;  // the data files
  uint64_t tensors;               // 0 if there is nothing worth keeping

  bool operator==(const PackedSeal& other) const {
    return packed == other.packed && sources == other.sources &&
           tensors == other.tensors;
  }
};

// Empty if there is no seal, or none that this runner can read.
std::optional<PackedSeal> read_seal(const std::string& path);

// Replaces the seal in one step.
Status write_seal(const std::string& path, const PackedSeal& seal);

// Takes note that the entry was used now; the oldest entries go first.
void mark_used(const std::string& path);

}  // namespace ptefoundry
