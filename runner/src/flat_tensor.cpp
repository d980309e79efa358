#include "flat_tensor.h"

#include <cstring>
#include <optional>
#include <vector>

namespace ptefoundry {
namespace {

// Field numbers of flat_tensor.fbs.
enum FlatTensorField { kVersion, kSegments, kNamedData };
enum SegmentField { kOffset, kSize };
enum NamedDataField { kKey, kSegmentIndex, kLayout };
enum LayoutField { kScalarType, kSizes, kDimOrder };

// Element types that the runtime knows the size of are numbered below this.
constexpr int8_t kScalarTypes = 30;

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

void check_layout(Reader& reader, Table layout, uint64_t segment_bytes) {
  const auto type = layout.value<int8_t>(kScalarType);
  reader.require(type >= 0 && type < kScalarTypes);
  const Vector sizes = layout.vector(kSizes, sizeof(int32_t));
  const Vector order = layout.vector(kDimOrder, sizeof(uint8_t));
  reader.require(order.count == sizes.count);
  uint64_t elements = 1;
  for (uint32_t i = 0; i < sizes.count && reader.sound(); ++i) {
    const auto size = reader.read<int32_t>(sizes.start + i * sizeof(int32_t));
    reader.require(size >= 0 &&
                   reader.read<uint8_t>(order.start + i) < sizes.count);
    elements *= static_cast<uint64_t>(size);
    // An element has at least one byte; this also keeps the product small.
    reader.require(elements <= segment_bytes);
  }
}

std::vector<uint64_t> check_segments(Reader& reader, Table file,
                                     uint64_t data_bytes) {
  std::vector<uint64_t> sizes;
  const Vector segments = file.vector(kSegments, sizeof(uint32_t));
  for (uint32_t i = 0; i < segments.count && reader.sound(); ++i) {
    Table segment(reader, reader.follow(segments.start + 4 * uint64_t{i}));
    const auto offset = segment.value<uint64_t>(kOffset);
    const auto size = segment.value<uint64_t>(kSize);
    reader.require(offset <= data_bytes && size <= data_bytes - offset);
    sizes.push_back(size);
  }
  return sizes;
}

void check_entry(Reader& reader, Table entry,
                 const std::vector<uint64_t>& segment_sizes) {
  reader.require(entry.field(kKey, sizeof(uint32_t)).has_value());
  const Vector key = entry.vector(kKey, 1);
  reader.require(reader.read<char>(key.start + key.count) == '\0');
  const auto segment = entry.value<uint32_t>(kSegmentIndex);
  reader.require(segment < segment_sizes.size());
  const auto layout = entry.field(kLayout, sizeof(uint32_t));
  if (reader.sound() && layout.has_value()) {
    check_layout(reader, Table(reader, reader.follow(*layout)),
                 segment_sizes[segment]);
  }
}

}  // namespace

bool is_sound_flat_tensor(std::string_view index, uint64_t data_bytes) {
  Reader reader(index);
  Table file(reader, reader.follow(0));
  const auto segment_sizes = check_segments(reader, file, data_bytes);
  const Vector entries = file.vector(kNamedData, sizeof(uint32_t));
  for (uint32_t i = 0; i < entries.count && reader.sound(); ++i) {
    check_entry(reader,
                Table(reader, reader.follow(entries.start + 4 * uint64_t{i})),
                segment_sizes);
  }
  return reader.sound();
}

}  // namespace ptefoundry
