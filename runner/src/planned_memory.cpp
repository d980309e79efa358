#include "planned_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace ptefoundry {
namespace {

using executorch::runtime::Span;

std::vector<Span<uint8_t>> spans_of(const std::vector<LazyBuffer>& buffers) {
  std::vector<Span<uint8_t>> spans;
  for (const LazyBuffer& buffer : buffers) {
    spans.push_back(buffer.span());
  }
  return spans;
}

}  // namespace

Result<LazyBuffer> LazyBuffer::allocate(size_t size) {
  if (size == 0) {
    return LazyBuffer(nullptr, 0);
  }
  void* const data = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return Failure{"cannot reserve " + std::to_string(size) +
                   " bytes for activations and caches (" +
                   std::strerror(errno) +
                   "); load fewer programs, or export a shorter context"};
  }
#ifdef MADV_NOHUGEPAGE
  // One huge page would be given for the first row of several layers' caches.
  madvise(data, size, MADV_NOHUGEPAGE);
#endif
  return LazyBuffer(static_cast<uint8_t*>(data), size);
}

LazyBuffer::~LazyBuffer() {
  if (data_ != nullptr) {
    munmap(data_, size_);
  }
}

PlannedMemory::PlannedMemory(std::vector<LazyBuffer> buffers)
    : buffers_(std::move(buffers)),
      spans_(spans_of(buffers_)),
      allocator_({spans_.data(), spans_.size()}) {}

Result<std::unique_ptr<PlannedMemory>> PlannedMemory::allocate(
    executorch::extension::Module& module, const std::string& method) {
  const auto meta = module.method_meta(method);
  if (!meta.ok()) {
    return Failure{"cannot read the memory plan of the method " + method};
  }
  std::vector<LazyBuffer> buffers;
  for (size_t index = 0; index < meta->num_memory_planned_buffers(); ++index) {
    const auto size = meta->memory_planned_buffer_size(index);
    if (!size.ok() || *size < 0) {
      return Failure{"the memory plan of the method " + method +
                     " is damaged; build the program again"};
    }
    ASSIGN_OR_RETURN(LazyBuffer buffer,
                     LazyBuffer::allocate(static_cast<size_t>(*size)));
    buffers.push_back(std::move(buffer));
  }
  return std::unique_ptr<PlannedMemory>(new PlannedMemory(std::move(buffers)));
}

}  // namespace ptefoundry
