// Packed-weights files for tests, as ExecuTorch writes them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct PackedEntry {
  std::string name;
  uint64_t offset;
  uint64_t size;
};

inline std::string little_endian(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) {
    text.push_back(static_cast<char>(value >> (8 * i)));
  }
  return text;
}

inline std::string packed_bytes(const std::string& data,
                                const std::vector<PackedEntry>& entries) {
  std::string index;
  for (const PackedEntry& entry : entries) {
    index += little_endian(entry.name.size(), 4) + entry.name +
             little_endian(entry.offset, 8) + little_endian(entry.size, 8) +
             little_endian(7, 4);
  }
  return data + index + little_endian(data.size(), 8) +
         little_endian(entries.size(), 4) + "CWPX" + little_endian(2, 4);
}
