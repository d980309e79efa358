#include "flat_tensor.h"

#include <vector>

#include "flatbuffer.h"

namespace ptefoundry {
namespace {

// Field numbers of flat_tensor.fbs.
enum FlatTensorField { kVersion, kSegments, kNamedData };
enum SegmentField { kOffset, kSize };
enum NamedDataField { kKey, kSegmentIndex, kLayout };
enum LayoutField { kScalarType, kSizes, kDimOrder };

// Element types that the runtime knows the size of are numbered below this.
constexpr int8_t kScalarTypes = 30;

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
