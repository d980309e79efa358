#include "files.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "flat_tensor.h"

namespace ptefoundry {
namespace {

constexpr size_t kHeadBytes = 64;
using Head = std::array<unsigned char, kHeadBytes>;

// Both formats are a flatbuffer (identifier at byte 4) with a fixed header at
// byte 8: magic, u32 header length, then little-endian u64 fields.
constexpr size_t kIdentifierOffset = 4;
constexpr size_t kHeaderOffset = 8;
constexpr size_t kFieldsOffset = 16;

struct Format {
  const char* kind;
  const char* identifier;
  const char* header_magic;
};
constexpr Format kProgram = {"an ExecuTorch program (.pte)", "ET12", "eh00"};
constexpr Format kData = {"an ExecuTorch data file (.ptd)", "FT01", "FH01"};

uint64_t read_little_endian(const Head& head, size_t offset, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = bytes; i-- > 0;) {
    value = value << 8 | head[offset + i];
  }
  return value;
}

bool has_tag(const Head& head, size_t offset, const char* tag) {
  return std::memcmp(head.data() + offset, tag, 4) == 0;
}

struct OpenedFile {
  Head head;
  uint64_t size;
};

Result<OpenedFile> read_head(const std::string& path, const Format& format) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return Failure{path + ": no such file; expected " + format.kind};
  }
  if (!std::filesystem::is_regular_file(path, error)) {
    return Failure{path + ": not a regular file; expected " + format.kind};
  }
  OpenedFile file{{}, std::filesystem::file_size(path, error)};
  std::ifstream stream(path, std::ios::binary);
  if (error || !stream) {
    return Failure{path + ": cannot be read; check its permissions"};
  }
  stream.read(reinterpret_cast<char*>(file.head.data()), kHeadBytes);
  if (file.size < kHeadBytes ||
      stream.gcount() != static_cast<std::streamsize>(kHeadBytes)) {
    return Failure{path + ": " + std::to_string(file.size) +
                   " bytes are too few for " + format.kind +
                   "; fetch or build it again"};
  }
  if (!has_tag(file.head, kIdentifierOffset, format.identifier)) {
    return Failure{path + ": not " + format.kind + " (no '" +
                   format.identifier +
                   "' at byte 4); pass another file or build it again"};
  }
  return file;
}

Status check_length(const std::string& path, uint64_t size, uint64_t start,
                    uint64_t length) {
  // The sum could wrap in a damaged header, so the two are compared one by one.
  if (start > size || length > size - start) {
    return Failure{path + ": the header promises " + std::to_string(length) +
                   " bytes from byte " + std::to_string(start) +
                   " on, the file ends at byte " + std::to_string(size) +
                   "; it is truncated or damaged, fetch or build it again"};
  }
  return Done{};
}

}  // namespace

Status check_program_file(const std::string& path) {
  ASSIGN_OR_RETURN(const OpenedFile file, read_head(path, kProgram));
  if (!has_tag(file.head, kHeaderOffset, kProgram.header_magic)) {
    return Done{};  // Old programs are one flatbuffer, which is verified later.
  }
  const uint64_t header_bytes = read_little_endian(file.head, 12, 4);
  const uint64_t program_bytes =
      read_little_endian(file.head, kFieldsOffset, 8);
  const uint64_t segments_start =
      read_little_endian(file.head, kFieldsOffset + 8, 8);
  RETURN_IF_FAILED(check_length(path, file.size, 0, program_bytes));
  // The third field came with a later version of the header.
  const bool has_segment_bytes = header_bytes >= 32;
  const uint64_t segment_bytes =
      has_segment_bytes ? read_little_endian(file.head, kFieldsOffset + 16, 8)
                        : 0;
  return check_length(path, file.size, segments_start, segment_bytes);
}

Status check_data_file(const std::string& path) {
  RETURN_IF_FAILED(read_data_index(path));
  return Done{};
}

Result<std::string> read_data_index(const std::string& path) {
  ASSIGN_OR_RETURN(const OpenedFile file, read_head(path, kData));
  if (!has_tag(file.head, kHeaderOffset, kData.header_magic)) {
    return Failure{path + ": not " + kData.kind + " (no '" +
                   kData.header_magic +
                   "' at byte 8); pass another file or build it again"};
  }
  const auto field = [&](size_t index) {
    return read_little_endian(file.head, kFieldsOffset + 8 * index, 8);
  };
  const uint64_t index_start = field(0);
  const uint64_t index_bytes = field(1);
  const uint64_t data_start = field(2);
  const uint64_t data_bytes = field(3);
  RETURN_IF_FAILED(check_length(path, file.size, index_start, index_bytes));
  RETURN_IF_FAILED(check_length(path, file.size, data_start, data_bytes));
  std::string index(index_start + index_bytes, '\0');
  std::ifstream stream(path, std::ios::binary);
  stream.read(index.data(), static_cast<std::streamsize>(index.size()));
  if (!stream || !is_sound_flat_tensor(index, data_bytes)) {
    return Failure{path +
                   ": its index of tensors is damaged; fetch or build "
                   "it again"};
  }
  return index;
}

Result<std::string> read_text_file(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return Failure{path + ": no such file"};
  }
  std::ifstream stream(path, std::ios::binary);
  if (!stream.is_open() || std::filesystem::is_directory(path, error)) {
    return Failure{path +
                   ": cannot be read; check that it is a file and its "
                   "permissions"};
  }
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

Status make_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) {
    return Failure{path + ": cannot make this directory: " + error.message()};
  }
  return Done{};
}

Status write_file(const std::string& path, const void* bytes, size_t size) {
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream.write(static_cast<const char*>(bytes),
               static_cast<std::streamsize>(size));
  stream.close();
  if (!stream) {
    return Failure{path +
                   ": cannot be written; check the directory, its "
                   "permissions and the free space"};
  }
  return Done{};
}

}  // namespace ptefoundry
