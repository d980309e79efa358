// The memory that a method's activations and caches live in.
#pragma once

#include <executorch/extension/module/module.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "result.h"

namespace ptefoundry {

// Zeroed memory that the system provides page by page when it is first
// written: a cache costs what was put into it, not its capacity.
class LazyBuffer {
 public:
  static Result<LazyBuffer> allocate(size_t size);
  LazyBuffer(LazyBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  LazyBuffer& operator=(LazyBuffer&&) = delete;
  ~LazyBuffer();

  executorch::runtime::Span<uint8_t> span() const { return {data_, size_}; }

 private:
  LazyBuffer(uint8_t* data, size_t size) : data_(data), size_(size) {}

  uint8_t* data_;
  size_t size_;
};

// What one method was planned with; must outlive the module that it runs in.
class PlannedMemory {
 public:
  static Result<std::unique_ptr<PlannedMemory>> allocate(
      executorch::extension::Module& module, const std::string& method);
  PlannedMemory(const PlannedMemory&) = delete;
  PlannedMemory& operator=(const PlannedMemory&) = delete;

  executorch::runtime::HierarchicalAllocator* allocator() {
    return &allocator_;
  }

 private:
  explicit PlannedMemory(std::vector<LazyBuffer> buffers);

  std::vector<LazyBuffer> buffers_;
  std::vector<executorch::runtime::Span<uint8_t>> spans_;
  executorch::runtime::HierarchicalAllocator allocator_;
};

}  // namespace ptefoundry
