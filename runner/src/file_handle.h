// Open files, and files that are mapped for reading.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "result.h"

namespace ptefoundry {

// An open file; closing it also gives up its lock.
class FileHandle {
 public:
  FileHandle() = default;
  explicit FileHandle(int descriptor) : descriptor_(descriptor) {}
  FileHandle(FileHandle&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileHandle& operator=(FileHandle&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~FileHandle();

  bool is_open() const { return descriptor_ >= 0; }
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_ = -1;
};

// A path that leads to an open file for as long as it is open, even if `path`,
// where it was found, no longer does. Where the system has no such paths it is
// `path`.
std::string path_of(const FileHandle& file, const std::string& path);

// What the file system says about a file; any write to the file changes it.
struct FileStamp {
  uint64_t device;
  uint64_t inode;
  uint64_t size;
  int64_t modified_ns;
  int64_t changed_ns;

  bool operator==(const FileStamp& other) const;
};

Result<FileStamp> read_stamp(const FileHandle& file, const std::string& path);

// The bytes of a file, mapped while this lives.
class MappedFile {
 public:
  static Result<MappedFile> map(const FileHandle& file,
                                const std::string& path);
  MappedFile(MappedFile&& other) noexcept
      : bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile();

  std::string_view bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::string_view bytes) : bytes_(bytes) {}

  std::string_view bytes_;
};

}  // namespace ptefoundry
