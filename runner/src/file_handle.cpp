#include "file_handle.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace ptefoundry {
namespace {

int64_t nanoseconds(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

FileHandle::~FileHandle() {
  if (is_open()) {
    close(descriptor_);
  }
}

std::string path_of(const FileHandle& file, const std::string& path) {
#ifdef __linux__
  const std::string own =
      "/proc/self/fd/" + std::to_string(file.descriptor());
  if (access(own.c_str(), R_OK) == 0) {
    return own;
  }
#else
  (void)file;
#endif
  return path;
}

bool FileStamp::operator==(const FileStamp& other) const {
  return device == other.device && inode == other.inode && size == other.size &&
         modified_ns == other.modified_ns && changed_ns == other.changed_ns;
}

Result<FileStamp> read_stamp(const FileHandle& file, const std::string& path) {
  struct stat status;
  if (fstat(file.descriptor(), &status) != 0) {
    return Failure{path + ": cannot be examined: " + std::strerror(errno)};
  }
#ifdef __APPLE__
  const timespec modified = status.st_mtimespec, changed = status.st_ctimespec;
#else
  const timespec modified = status.st_mtim, changed = status.st_ctim;
#endif
  return FileStamp{static_cast<uint64_t>(status.st_dev),
                   static_cast<uint64_t>(status.st_ino),
                   static_cast<uint64_t>(status.st_size), nanoseconds(modified),
                   nanoseconds(changed)};
}

Result<MappedFile> MappedFile::map(const FileHandle& file,
                                   const std::string& path) {
  ASSIGN_OR_RETURN(const FileStamp stamp, read_stamp(file, path));
  if (stamp.size == 0) {
    return MappedFile(std::string_view());
  }
  void* const start =
      mmap(nullptr, stamp.size, PROT_READ, MAP_SHARED, file.descriptor(), 0);
  if (start == MAP_FAILED) {
    return Failure{path + ": cannot be mapped: " + std::strerror(errno)};
  }
  return MappedFile({static_cast<const char*>(start), stamp.size});
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) {
    munmap(const_cast<char*>(bytes_.data()), bytes_.size());
  }
}

}  // namespace ptefoundry
