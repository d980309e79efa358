#include "packed_cache.h"

#include <executorch/runtime/backend/options.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "cpu.h"
#include "files.h"
#include "packed_key.h"
#include "separate_process.h"

namespace ptefoundry {
namespace {

namespace fs = std::filesystem;

// Packing pads: measured 2 % for SmolLM2. Also bounds what the index takes.
constexpr double kPackedGrowth = 1.1;
constexpr uint64_t kSpareBytes = uint64_t{64} << 20;

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Result<std::string> make_key(const std::vector<std::string>& data_files) {
  PackedOrigin origin = {PTEFOUNDRY_XNNPACK_SHA256, describe_cpu(), {}};
  for (const std::string& path : data_files) {
    ASSIGN_OR_RETURN(std::string index, read_data_index(path));
    origin.indices.push_back(std::move(index));
  }
  return packed_key(origin);
}

uint64_t expected_bytes(const std::vector<std::string>& data_files) {
  uint64_t total = 0;
  for (const std::string& path : data_files) {
    std::error_code error;
    const uint64_t size = fs::file_size(path, error);
    total += error ? 0 : size;
  }
  return static_cast<uint64_t>(static_cast<double>(total) * kPackedGrowth);
}

// The backend takes paths of a limited length.
Status check_folder(const std::string& directory) {
  constexpr size_t kLongestName = 32;
  constexpr size_t kLongest =
      executorch::runtime::kMaxOptionValueLength - 1 - kLongestName;
  if (directory.size() > kLongest) {
    return Failure{directory + ": the path has " +
                   std::to_string(directory.size()) + " bytes, at most " +
                   std::to_string(kLongest) +
                   " are possible; name a shorter one with --packed-cache"};
  }
  RETURN_IF_FAILED(PackedFolder::open(directory));
  return Done{};
}

Status check_space(const std::string& directory, uint64_t needed) {
  std::error_code error;
  const fs::space_info space = fs::space(directory, error);
  if (!error && space.available < needed + kSpareBytes) {
    return Failure{directory + ": packing needs about " +
                   std::to_string(needed) + " bytes, " +
                   std::to_string(space.available) +
                   " are free; free some or name another folder with "
                   "--packed-cache"};
  }
  return Done{};
}

struct Build {
  const PackedFolder& folder;
  const std::string& directory;
  const std::string& key;
  const std::vector<std::string>& sources;
  uint64_t needed;
  uint64_t max_bytes;
};

// Needs the folder's lock.
Status build(const Build& build, const Pack& pack) {
  const auto& [folder, directory, key, sources, needed, max_bytes] = build;
  if (needed > max_bytes) {
    return Failure{"packed weights would take about " + std::to_string(needed) +
                   " bytes, more than --packed-cache-max-bytes " +
                   std::to_string(max_bytes) + "; raise it"};
  }
  const std::string draft = folder.make_draft(key);
  folder.make_room(needed, max_bytes);
  RETURN_IF_FAILED(check_space(directory, needed));
  RETURN_IF_FAILED(run_separately([&] { return pack(draft); }));
  std::error_code error;
  const auto size = fs::file_size(draft, error);
  if (error || size == 0) {
    return folder.seal_nothing(key, sources);
  }
  const Status sealed = folder.seal_draft(draft, key, sources);
  fs::remove(draft, error);
  if (sealed.ok()) {
    folder.make_room(0, max_bytes);
  }
  return sealed;
}

Result<PackedCache> find_or_build(const PackedCacheOptions& options,
                                  const std::string& directory,
                                  const std::vector<std::string>& data_files,
                                  const Pack& pack,
                                  const PackedFolder::OnNote& on_note) {
  ASSIGN_OR_RETURN(const std::string key, make_key(data_files));
  ASSIGN_OR_RETURN(const PackedFolder folder, PackedFolder::open(directory));
  if (auto found = folder.find(key, data_files)) {
    return PackedCache{std::move(found)};
  }
  ASSIGN_OR_RETURN(const FileHandle lock, folder.lock(on_note));
  if (auto found = folder.find(key, data_files)) {
    return PackedCache{std::move(found)};  // By whom we waited for.
  }
  const auto start = std::chrono::steady_clock::now();
  RETURN_IF_FAILED(build({folder, directory, key, data_files,
                          expected_bytes(data_files), options.max_bytes},
                         pack));
  const std::chrono::duration<double> elapsed =
      std::chrono::steady_clock::now() - start;
  auto built = folder.find(key, data_files);
  if (!built.has_value()) {
    return Failure{folder.packed_path(key) +
                   ": was packed, but is gone or was changed; raise "
                   "--packed-cache-max-bytes if it did not fit"};
  }
  return PackedCache{std::move(built), elapsed.count()};
}

}  // namespace

std::string default_packed_folder() {
  if (const std::string own = variable("PTEFOUNDRY_CACHE"); !own.empty()) {
    return own + "/packed";
  }
  if (const std::string base = variable("XDG_CACHE_HOME"); !base.empty()) {
    return base + "/ptefoundry/packed";
  }
  const std::string home = variable("HOME");
  return home.empty() ? "" : home + "/.cache/ptefoundry/packed";
}

Result<PackedCache> open_packed_cache(
    const PackedCacheOptions& options,
    const std::vector<std::string>& data_files, const Pack& pack,
    const PackedFolder::OnNote& on_note) {
  const bool asked = !options.directory.empty();
  const std::string directory =
      asked ? options.directory : default_packed_folder();
  if (!options.enabled || directory.empty() || data_files.empty()) {
    return PackedCache{};
  }
  const auto without = [&](const Failure& failure) {
    on_note("packed weights are not kept: " + failure.message);
    return PackedCache{};
  };
  const Status usable = check_folder(directory);
  if (!usable.ok()) {
    return asked ? Result<PackedCache>(usable.failure())
                 : without(usable.failure());
  }
  auto cache = find_or_build(options, directory, data_files, pack, on_note);
  if (!cache.ok()) {
    return without(cache.failure());
  }
  if (cache.value().file.has_value() && cache.value().file->tensors == 0) {
    cache.value().file.reset();
  }
  return cache;
}

}  // namespace ptefoundry
