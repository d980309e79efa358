#include "packed_index.h"

#include <algorithm>
#include <cstring>

namespace ptefoundry {
namespace {

// The file ends with u64 where the index starts, u32 entries, u32 magic and
// u32 version.
constexpr size_t kFooterBytes = 20;
constexpr uint32_t kMagic = 0x58505743;
constexpr uint32_t kVersion = 2;

// An entry is u32 length of the name, the name, u64 offset, u64 size, u32 seed.
constexpr size_t kEntryTail = 20;
constexpr size_t kDigestDigits = 64;

template <typename T>
T read(std::string_view bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

// A digest of the weight, followed by one of the bias if there is one.
bool is_by_content(std::string_view name) {
  return !name.empty() && name.size() % kDigestDigits == 0 &&
         name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Checks the first entry and removes it.
Status take_entry(std::string_view& index, uint64_t data_bytes) {
  const size_t room = index.size();
  const uint64_t length = room < 4 ? room : read<uint32_t>(index, 0);
  if (room < 4 + kEntryTail || length > room - 4 - kEntryTail) {
    return Failure{"its index ends within an entry"};
  }
  const std::string_view name = index.substr(4, length);
  const auto offset = read<uint64_t>(index, 4 + length);
  const auto size = read<uint64_t>(index, 4 + length + 8);
  if (offset > data_bytes || size > data_bytes - offset) {
    return Failure{"its index points outside of the file"};
  }
  if (!is_by_content(name)) {
    return Failure{"it has weights that are not named by their sha256"};
  }
  index.remove_prefix(4 + length + kEntryTail);
  return Done{};
}

}  // namespace

Result<uint64_t> count_packed_tensors(std::string_view file) {
  if (file.size() < kFooterBytes) {
    return Failure{"it ends before its index"};
  }
  const size_t footer = file.size() - kFooterBytes;
  const auto start = read<uint64_t>(file, footer);
  const auto count = read<uint32_t>(file, footer + 8);
  if (read<uint32_t>(file, footer + 12) != kMagic ||
      read<uint32_t>(file, footer + 16) != kVersion || start > footer) {
    return Failure{"it does not end with an index of version 2"};
  }
  std::string_view index = file.substr(start, footer - start);
  for (uint32_t i = 0; i < count; ++i) {
    RETURN_IF_FAILED(take_entry(index, start));
  }
  if (!index.empty()) {
    return Failure{"its index has more entries than it counts"};
  }
  return uint64_t{count};
}

}  // namespace ptefoundry
