#include "packed_rewrite.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

namespace ptefoundry {
namespace {

constexpr size_t kPieceBytes = size_t{8} << 20;

// As many bytes as the buffer takes, fewer at the end of the file.
Result<size_t> read_piece(const FileHandle& file, const std::string& path,
                          size_t at, std::vector<char>& buffer) {
  size_t count = 0;
  while (count < buffer.size()) {
    const ssize_t found =
        ::pread(file.descriptor(), buffer.data() + count, buffer.size() - count,
                static_cast<off_t>(at + count));
    if (found == 0) {
      break;
    }
    if (found < 0 && errno != EINTR) {
      return Failure{path + ": cannot be read: " + std::strerror(errno)};
    }
    count += static_cast<size_t>(std::max<ssize_t>(found, 0));
  }
  return count;
}

bool write_all(const FileHandle& file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written =
        ::write(file.descriptor(), bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) {
      return false;
    }
    bytes.remove_prefix(static_cast<size_t>(std::max<ssize_t>(written, 0)));
  }
  return true;
}

// Where that is impossible the file goes as a whole, later.
void give_back(const FileHandle& file, size_t start, size_t size) {
#ifdef FALLOC_FL_PUNCH_HOLE
  (void)fallocate(file.descriptor(),
                  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(start), static_cast<off_t>(size));
#else
  (void)file, (void)start, (void)size;
#endif
}

}  // namespace

Status move_bytes(const FileHandle& source, const std::string& from,
                  const std::string& to) {
  const FileHandle target(::open(
      to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (!target.is_open()) {
    return Failure{to + ": cannot be made: " + std::strerror(errno)};
  }
  // Through a buffer: pages of a mapping would be copied a few at a time.
  std::vector<char> buffer(kPieceBytes);
  for (size_t at = 0;;) {
    ASSIGN_OR_RETURN(const size_t count, read_piece(source, from, at, buffer));
    if (count == 0) {
      return Done{};
    }
    if (!write_all(target, {buffer.data(), count})) {
      return Failure{to + ": cannot be written: " + std::strerror(errno)};
    }
    give_back(source, at, count);
    at += count;
  }
}

}  // namespace ptefoundry
