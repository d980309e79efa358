// Packed weights that outlive the process: XNNPACK's layout of a foundation in
// a file that every process maps and nobody changes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "packed_folder.h"
#include "result.h"

namespace ptefoundry {

struct PackedCacheOptions {
  // Folder; empty takes the user's.
  std::string directory;
  uint64_t max_bytes = uint64_t{16} << 30;
  bool enabled = true;
};

// $PTEFOUNDRY_CACHE/packed, else in $XDG_CACHE_HOME or ~/.cache
// ptefoundry/packed; empty if none of these variables is set.
std::string default_packed_folder();

// What this process has of the cache.
struct PackedCache {
  std::optional<PackedFile> file;
  double build_s = 0;  // 0 if it was there already
};

// Packs the weights of a program into a file that does not exist yet.
using Pack = std::function<Status(const std::string& path)>;

// Finds the file for a foundation, or has it packed in a process of its own, so
// that a full disk (which kills who writes to a mapping) costs no more than the
// cache. Anything that prevents it is a note and an empty cache; only a folder
// that was asked for and cannot be used is a failure. Call it before the
// process has threads.
Result<PackedCache> open_packed_cache(
    const PackedCacheOptions& options,
    const std::vector<std::string>& data_files, const Pack& pack,
    const PackedFolder::OnNote& on_note);

}  // namespace ptefoundry
