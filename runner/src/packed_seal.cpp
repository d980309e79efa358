#include "packed_seal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "files.h"

namespace ptefoundry {
namespace {

using nlohmann::json;

constexpr int kFormatVersion = 1;

json to_json(const FileSeal& seal) {
  return {{"device", seal.stamp.device},
          {"inode", seal.stamp.inode},
          {"size", seal.stamp.size},
          {"modified_ns", seal.stamp.modified_ns},
          {"changed_ns", seal.stamp.changed_ns},
          {"checksum", seal.checksum}};
}

FileSeal read_file_seal(const json& seal) {
  const FileStamp stamp = {
      seal.at("device").get<uint64_t>(), seal.at("inode").get<uint64_t>(),
      seal.at("size").get<uint64_t>(), seal.at("modified_ns").get<int64_t>(),
      seal.at("changed_ns").get<int64_t>()};
  return {stamp, seal.at("checksum").get<uint64_t>()};
}

json to_json(const PackedSeal& seal) {
  json sources = json::array();
  for (const FileSeal& source : seal.sources) {
    sources.push_back(to_json(source));
  }
  return {{"format_version", kFormatVersion},
          {"packed", to_json(seal.packed)},
          {"sources", std::move(sources)},
          {"tensors", seal.tensors}};
}

PackedSeal read_packed_seal(const json& seal) {
  std::vector<FileSeal> sources;
  for (const json& source : seal.at("sources")) {
    sources.push_back(read_file_seal(source));
  }
  return {read_file_seal(seal.at("packed")), std::move(sources),
          seal.at("tensors").get<uint64_t>()};
}

}  // namespace

std::optional<PackedSeal> read_seal(const std::string& path) {
  const auto text = read_text_file(path);
  if (!text.ok()) {
    return std::nullopt;
  }
  const json seal = json::parse(text.value(), nullptr, /*exceptions=*/false);
  try {
    if (seal.at("format_version").get<int>() != kFormatVersion) {
      return std::nullopt;
    }
    return read_packed_seal(seal);
  } catch (const json::exception&) {
    return std::nullopt;  // A damaged seal seals nothing.
  }
}

Status write_seal(const std::string& path, const PackedSeal& seal) {
  const std::string text = to_json(seal).dump(1) + "\n";
  const std::string draft = path + "." + std::to_string(getpid()) + ".tmp";
  RETURN_IF_FAILED(write_file(draft, text.data(), text.size()));
  std::error_code error;
  std::filesystem::rename(draft, path, error);
  if (error) {
    return Failure{path + ": cannot be replaced: " + error.message()};
  }
  return Done{};
}

void mark_used(const std::string& path) {
  // Without permission the entry only looks older than it is.
  (void)utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
}

}  // namespace ptefoundry
