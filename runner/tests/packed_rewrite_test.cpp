#include "packed_rewrite.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <string>

#include "check.h"
#include "files.h"

namespace {

using namespace ptefoundry;

constexpr size_t kPiece = size_t{8} << 20;

// No two pieces are alike.
std::string numbered(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<char>(i * 2654435761 >> 13);
  }
  return bytes;
}

FileHandle opened(const std::string& path, int flags) {
  FileHandle file(::open(path.c_str(), flags));
  CHECK(file.is_open());
  return file;
}

TEST(all_bytes_are_moved_whatever_their_number) {
  const std::string root = check::temporary_directory();
  for (const size_t size : {size_t{0}, size_t{1}, kPiece, 2 * kPiece + 5}) {
    const std::string from = root + "/from", to = root + "/to";
    const std::string bytes = numbered(size);
    CHECK(write_file(from, bytes.data(), bytes.size()).ok());
    CHECK(move_bytes(opened(from, O_RDWR), from, to).ok());
    CHECK(read_text_file(to).value() == bytes);
  }
}

TEST(both_files_take_the_room_of_one) {
  const std::string root = check::temporary_directory();
  const std::string from = root + "/from", to = root + "/to";
  const std::string bytes = numbered(4 * kPiece);
  CHECK(write_file(from, bytes.data(), bytes.size()).ok());
  const FileHandle source = opened(from, O_RDWR);
  CHECK(move_bytes(source, from, to).ok());
#ifdef FALLOC_FL_PUNCH_HOLE
  if (fallocate(source.descriptor(),
                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1) == 0) {
    struct stat status;
    CHECK(fstat(source.descriptor(), &status) == 0);
    CHECK(static_cast<size_t>(status.st_blocks) * 512 < kPiece);
  }
#endif
}

TEST(what_cannot_be_read_or_made_is_named) {
  const std::string root = check::temporary_directory();
  const std::string from = root + "/from";
  CHECK(write_file(from, "weights", 7).ok());
  const Status unmade =
      move_bytes(opened(from, O_RDWR), from, root + "/missing/to");
  CHECK(!unmade.ok());
  CHECK(unmade.failure().message.find("/missing/to") != std::string::npos);
  const Status unread =
      move_bytes(opened(root, O_RDONLY | O_DIRECTORY), root, root + "/to");
  CHECK(!unread.ok());
  CHECK(unread.failure().message.find(root + ": cannot be read") == 0);
}

}  // namespace
