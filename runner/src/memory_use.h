// How much memory this process holds, as the kernel counts it.
#pragma once

#include <cstdint>
#include <optional>

namespace ptefoundry {

// Bytes; a field is empty where the platform does not report it.
struct MemoryUse {
  std::optional<int64_t> rss;        // resident, shared pages once per mapping
  std::optional<int64_t> anonymous;  // resident and not backed by a file
  std::optional<int64_t> pss;        // resident, shared pages divided fairly
};

MemoryUse read_memory_use();

// Gives freed memory back to the system, which the allocator would keep where
// something above it is still in use.
void give_back_freed_memory();

}  // namespace ptefoundry
