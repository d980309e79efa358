// What a file looked like, to tell later whether it is still the same.
#pragma once

#include <cstdint>
#include <string>

#include "file_handle.h"
#include "result.h"

namespace ptefoundry {

struct FileSeal {
  FileStamp stamp;
  uint64_t checksum;  // of all bytes

  bool operator==(const FileSeal& other) const {
    return stamp == other.stamp && checksum == other.checksum;
  }
};

// Reads every byte.
Result<FileSeal> make_seal(const FileHandle& file, const std::string& path);

// Whether the file has the bytes that were sealed. They are read only if the
// file system does not vouch for that: if the file was moved, copied, touched
// or written to. What it says now is then put into the seal.
bool matches(const FileHandle& file, const std::string& path, FileSeal& seal);

}  // namespace ptefoundry
