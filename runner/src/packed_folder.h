// The folder of packed-weights files, which may be deleted at any time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "file_handle.h"
#include "result.h"

namespace ptefoundry {

// A complete packed file. While this lives the file is locked for reading, so
// that ExecuTorch, which locks what it may write to, leaves it as it is.
struct PackedFile {
  std::string path;
  uint64_t bytes;
  uint64_t tensors;
  FileHandle lock;
};

class PackedFolder {
 public:
  using OnNote = std::function<void(const std::string& note)>;

  // Makes the directory, for this user only, unless it is there.
  static Result<PackedFolder> open(const std::string& directory);

  std::string packed_path(const std::string& key) const;

  // The sealed file of a key, checked against its seal; empty if there is none,
  // or if it or one of the sources has other bytes than when it was made.
  std::optional<PackedFile> find(const std::string& key,
                                 const std::vector<std::string>& sources) const;

  // Keeps other processes from building or removing anything until the result
  // is closed. Waits for them, after a note.
  Result<FileHandle> lock(const OnNote& on_note) const;

  // The following need the lock.

  // Where to pack to. Removes what processes left here that did not finish.
  std::string make_draft(const std::string& key) const;
  // Checks a draft, gives it its name and seals it.
  Status seal_draft(const std::string& draft, const std::string& key,
                    const std::vector<std::string>& sources) const;
  // Remembers that the programs of a key have nothing worth keeping.
  Status seal_nothing(const std::string& key,
                      const std::vector<std::string>& sources) const;
  // Removes least recently used entries until the others, and `needed` bytes
  // more, fit into `max_bytes`.
  void make_room(uint64_t needed, uint64_t max_bytes) const;

 private:
  explicit PackedFolder(std::string directory)
      : directory_(std::move(directory)) {}

  std::string seal_path(const std::string& key) const;

  std::string directory_;
};

}  // namespace ptefoundry
