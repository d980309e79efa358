// Reading flatbuffers that may be damaged.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

namespace ptefoundry {

// Reads little-endian values of a flatbuffer; whatever lies outside of it makes
// the whole buffer unsound, once and for all.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  bool sound() const { return sound_; }
  void require(bool condition) { sound_ = sound_ && condition; }

  template <typename T>
  T read(uint64_t offset) {
    T value{};
    require(offset <= bytes_.size() && sizeof(T) <= bytes_.size() - offset);
    if (sound_) {
      std::memcpy(&value, bytes_.data() + offset, sizeof(T));
    }
    return value;
  }

  std::string_view slice(uint64_t offset, uint64_t size) {
    require(offset <= bytes_.size() && size <= bytes_.size() - offset);
    return sound_ ? bytes_.substr(offset, size) : std::string_view();
  }

  // Where an offset stored at `offset` points to.
  uint64_t follow(uint64_t offset) { return offset + read<uint32_t>(offset); }

 private:
  std::string_view bytes_;
  bool sound_ = true;
};

// Some elements of one size, as a table's field holds them.
struct Vector {
  uint64_t start = 0;
  uint32_t count = 0;
};

class Table {
 public:
  Table(Reader& reader, uint64_t start)
      : reader_(reader),
        start_(start),
        vtable_(start - static_cast<int64_t>(reader.read<int32_t>(start))) {
    vtable_bytes_ = reader.read<uint16_t>(vtable_);
    table_bytes_ = reader.read<uint16_t>(vtable_ + 2);
  }

  // Position of a field; empty if it has its default value.
  std::optional<uint64_t> field(int number, uint64_t bytes) {
    const uint64_t entry = 4 + 2 * static_cast<uint64_t>(number);
    if (entry + 2 > vtable_bytes_) {
      return std::nullopt;
    }
    const auto offset = reader_.read<uint16_t>(vtable_ + entry);
    reader_.require(offset == 0 || offset + bytes <= table_bytes_);
    return offset == 0 ? std::nullopt : std::optional(start_ + offset);
  }

  template <typename T>
  T value(int number) {
    const auto position = field(number, sizeof(T));
    return position.has_value() ? reader_.read<T>(*position) : T{};
  }

  // The table that a field points to; empty if there is none.
  std::optional<Table> table(int number) {
    const auto position = field(number, sizeof(uint32_t));
    return position.has_value()
               ? std::optional(Table(reader_, reader_.follow(*position)))
               : std::nullopt;
  }

  std::vector<Table> tables(int number) {
    std::vector<Table> found;
    const Vector offsets = vector(number, sizeof(uint32_t));
    for (uint32_t i = 0; i < offsets.count && reader_.sound(); ++i) {
      const uint64_t at = offsets.start + sizeof(uint32_t) * uint64_t{i};
      found.emplace_back(reader_, reader_.follow(at));
    }
    return found;
  }

  std::string_view text(int number) { return bytes(vector(number, 1)); }

  // The elements of a vector of bytes.
  std::string_view bytes(const Vector& vector) {
    return reader_.slice(vector.start, vector.count);
  }

  Vector vector(int number, uint64_t element_bytes) {
    const auto position = field(number, sizeof(uint32_t));
    if (!position.has_value()) {
      return {};
    }
    const uint64_t start = reader_.follow(*position);
    const Vector vector = {start + 4, reader_.read<uint32_t>(start)};
    if (vector.count > 0) {
      // The last byte of the last element; also bounds every loop over them.
      reader_.read<uint8_t>(vector.start + vector.count * element_bytes - 1);
    }
    return reader_.sound() ? vector : Vector{};
  }

 private:
  Reader& reader_;
  uint64_t start_;
  uint64_t vtable_;
  uint64_t vtable_bytes_;
  uint64_t table_bytes_;
};

}  // namespace ptefoundry
