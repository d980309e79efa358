#include "packed_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <vector>

#include "files.h"
#include "packed_index.h"
#include "packed_rewrite.h"
#include "packed_seal.h"

namespace ptefoundry {
namespace {

namespace fs = std::filesystem;

constexpr char kPackedSuffix[] = ".packed";
constexpr char kSealSuffix[] = ".json";
constexpr char kDraftSuffix[] = ".tmp";

// Locks without waiting; closed if another process holds a lock that excludes
// this one or the file cannot be opened.
FileHandle open_locked(const std::string& path, int flags, int operation) {
  FileHandle file(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  if (!file.is_open() || flock(file.descriptor(), operation | LOCK_NB) != 0) {
    return FileHandle();
  }
  return file;
}

FileHandle open_to_read(const std::string& path) {
  return FileHandle(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

bool match(const std::vector<std::string>& paths,
           std::vector<FileSeal>& seals) {
  if (paths.size() != seals.size()) {
    return false;
  }
  for (size_t i = 0; i < paths.size(); ++i) {
    const FileHandle file = open_to_read(paths[i]);
    if (!file.is_open() || !matches(file, paths[i], seals[i])) {
      return false;
    }
  }
  return true;
}

Result<std::vector<FileSeal>> seal_all(const std::vector<std::string>& paths) {
  std::vector<FileSeal> seals;
  for (const std::string& path : paths) {
    const FileHandle file = open_to_read(path);
    if (!file.is_open()) {
      return Failure{path + ": cannot be opened: " + std::strerror(errno)};
    }
    ASSIGN_OR_RETURN(const FileSeal seal, make_seal(file, path));
    seals.push_back(seal);
  }
  return seals;
}

Result<uint64_t> count_tensors(const std::string& draft) {
  const FileHandle file = open_to_read(draft);
  if (!file.is_open()) {
    return Failure{draft + ": cannot be opened: " + std::strerror(errno)};
  }
  ASSIGN_OR_RETURN(const MappedFile mapped, MappedFile::map(file, draft));
  const auto tensors = count_packed_tensors(mapped.bytes());
  if (!tensors.ok()) {
    return Failure{draft + ": " + tensors.failure().message};
  }
  return tensors.value();
}

Status move_draft(const std::string& draft, const std::string& moved) {
  const FileHandle file(::open(draft.c_str(), O_RDWR | O_CLOEXEC));
  if (!file.is_open()) {
    return Failure{draft + ": cannot be opened: " + std::strerror(errno)};
  }
  Status done = move_bytes(file, draft, moved);
  if (!done.ok()) {
    std::error_code error;
    fs::remove(moved, error);
  }
  return done;
}

struct Entry {
  fs::path packed;
  fs::path seal;
  uint64_t bytes;
  fs::file_time_type used;
};

std::vector<Entry> list_entries(const std::string& directory) {
  std::vector<Entry> entries;
  std::error_code error;
  for (const auto& file : fs::directory_iterator(directory, error)) {
    if (file.path().extension() != kPackedSuffix) {
      continue;
    }
    fs::path seal = file.path();
    seal.replace_extension(kSealSuffix);
    // Without a seal it is of no use and goes first.
    std::error_code unsealed, unreadable;
    const auto used = fs::last_write_time(seal, unsealed);
    const uint64_t bytes = file.file_size(unreadable);
    entries.push_back({file.path(), seal, unreadable ? 0 : bytes,
                       unsealed ? fs::file_time_type::min() : used});
  }
  return entries;
}

void remove_drafts(const std::string& directory) {
  std::vector<fs::path> drafts;
  std::error_code error;
  for (const auto& file : fs::directory_iterator(directory, error)) {
    if (file.path().extension() == kDraftSuffix) {
      drafts.push_back(file.path());
    }
  }
  for (const fs::path& draft : drafts) {
    fs::remove(draft, error);
  }
}

}  // namespace

Result<PackedFolder> PackedFolder::open(const std::string& directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) {
    RETURN_IF_FAILED(make_directory(directory));
    fs::permissions(directory, fs::perms::owner_all, error);
  }
  return PackedFolder(directory);
}

std::string PackedFolder::packed_path(const std::string& key) const {
  return directory_ + "/" + key + kPackedSuffix;
}

std::string PackedFolder::seal_path(const std::string& key) const {
  return directory_ + "/" + key + kSealSuffix;
}

std::optional<PackedFile> PackedFolder::find(
    const std::string& key, const std::vector<std::string>& sources) const {
  const std::string path = packed_path(key);
  // Locked before it is examined: from here on nobody writes to it.
  FileHandle file = open_locked(path, O_RDONLY, LOCK_SH);
  auto seal = read_seal(seal_path(key));
  if (!file.is_open() || !seal.has_value()) {
    return std::nullopt;
  }
  const PackedSeal before = *seal;
  if (!matches(file, path, seal->packed) || !match(sources, seal->sources)) {
    return std::nullopt;
  }
  // With what the files look like now, the next start need not read them.
  if (before == *seal || !write_seal(seal_path(key), *seal).ok()) {
    mark_used(seal_path(key));
  }
  return PackedFile{path, seal->packed.stamp.size, seal->tensors,
                    std::move(file)};
}

Result<FileHandle> PackedFolder::lock(const OnNote& on_note) const {
  const std::string path = directory_ + "/lock";
  FileHandle file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file.is_open()) {
    return Failure{path + ": cannot be opened: " + std::strerror(errno)};
  }
  if (flock(file.descriptor(), LOCK_EX | LOCK_NB) == 0) {
    return file;
  }
  on_note("waiting for another process that packs weights into " + directory_);
  while (flock(file.descriptor(), LOCK_EX) != 0) {
    if (errno != EINTR) {
      return Failure{path + ": cannot be locked: " + std::strerror(errno)};
    }
  }
  return file;
}

std::string PackedFolder::make_draft(const std::string& key) const {
  remove_drafts(directory_);
  return directory_ + "/" + key + "." + std::to_string(getpid()) + kDraftSuffix;
}

Status PackedFolder::seal_draft(const std::string& draft,
                                const std::string& key,
                                const std::vector<std::string>& sources) const {
  PackedSeal seal = {};
  ASSIGN_OR_RETURN(seal.tensors, count_tensors(draft));
  const std::string moved = draft + kDraftSuffix;
  RETURN_IF_FAILED(move_draft(draft, moved));
  ASSIGN_OR_RETURN(seal.sources, seal_all(sources));
  const FileHandle file = open_to_read(moved);
  if (!file.is_open()) {
    return Failure{moved + ": cannot be opened: " + std::strerror(errno)};
  }
  std::error_code error;
  fs::rename(moved, packed_path(key), error);
  if (error) {
    return Failure{moved + ": cannot be renamed: " + error.message()};
  }
  ASSIGN_OR_RETURN(seal.packed, make_seal(file, packed_path(key)));
  return write_seal(seal_path(key), seal);
}

Status PackedFolder::seal_nothing(
    const std::string& key, const std::vector<std::string>& sources) const {
  const std::string path = packed_path(key);
  RETURN_IF_FAILED(write_file(path, "", 0));
  PackedSeal seal = {};
  ASSIGN_OR_RETURN(const auto packed, seal_all({path}));
  seal.packed = packed.front();
  ASSIGN_OR_RETURN(seal.sources, seal_all(sources));
  return write_seal(seal_path(key), seal);
}

void PackedFolder::make_room(uint64_t needed, uint64_t max_bytes) const {
  std::vector<Entry> entries = list_entries(directory_);
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.used > b.used; });
  uint64_t total = needed;
  for (const Entry& entry : entries) {
    total += entry.bytes;
    if (total > max_bytes) {
      // Who has mapped it keeps it; its seal goes first, so that nothing is
      // trusted that is half removed.
      std::error_code error;
      fs::remove(entry.seal, error);
      fs::remove(entry.packed, error);
    }
  }
}

}  // namespace ptefoundry
