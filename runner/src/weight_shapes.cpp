#include "weight_shapes.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <unordered_map>

#include "file_handle.h"
#include "files.h"
#include "flatbuffer.h"

namespace ptefoundry {
namespace {

// Field numbers of program.fbs and, from GraphField on, of XNNPACK's
// runtime_schema.fbs.
enum ProgramField { kPlans = 1, kInlineData = 3, kProgramSegments = 4 };
enum PlanField { kDelegates = 7 };
enum DelegateField { kBackend, kProcessed };
enum ProcessedField { kLocation, kIndex };
enum ProgramSegmentField { kSegmentOffset, kSegmentSize };
enum GraphField { kNodes = 1, kValues = 2, kConstants = 8 };
enum UnionField { kType, kUnion };
enum LinearField { kInput, kFilter };
enum QuantizedField { kTensor };
enum TensorField { kDims = 2, kConstant = 3, kId = 6 };
enum ConstantField { kName = 2 };
constexpr uint8_t kLinearNode = 2;
constexpr uint8_t kQuantizedValue = 2;
constexpr int8_t kInSegment = 1;

// Behind the flatbuffer's size in a program, and in XNNPACK's own header.
constexpr uint64_t kSegmentsStart = 24;
constexpr uint64_t kGraphStart = 10;
constexpr uint64_t kGraphBytes = 14;
constexpr std::string_view kPayloadMagic = "XH00";

using Shape = std::vector<uint32_t>;

std::string to_text(const Shape& shape) {
  std::string text;
  for (const uint32_t size : shape) {
    text += (text.empty() ? "" : ", ") + std::to_string(size);
  }
  return "[" + text + "]";
}

Failure mixed_up(const std::string& path, const Shape& shape,
                 const Shape& other, const std::string& where) {
  return Failure{path + ": has a matrix of shape " + to_text(shape) +
                 " with the bytes of one of shape " + to_text(other) + " in " +
                 where +
                 "; XNNPACK keeps weights by their bytes alone and would take "
                 "one for the other, link the adapter again with this version "
                 "of ptefoundry"};
}

Shape read_integers(Reader& reader, const Vector& vector) {
  Shape integers;
  for (uint32_t i = 0; i < vector.count; ++i) {
    const uint64_t at = vector.start + sizeof(uint32_t) * uint64_t{i};
    integers.push_back(reader.read<uint32_t>(at));
  }
  return integers;
}

std::unordered_map<uint32_t, Table> values_by_id(Table graph) {
  std::unordered_map<uint32_t, Table> values;
  for (Table& value : graph.tables(kValues)) {
    auto plain = value.table(kUnion);
    const bool quantized = value.value<uint8_t>(kType) == kQuantizedValue;
    auto tensor =
        plain.has_value() && quantized ? plain->table(kTensor) : plain;
    if (tensor.has_value()) {
      values.emplace(tensor->value<uint32_t>(kId), *tensor);
    }
  }
  return values;
}

// Adds the weights of one delegate. False if its payload is unsound.
Result<bool> read_payload(const std::string& path, std::string_view payload,
                          WeightShapes& shapes) {
  Reader head(payload);
  if (head.slice(4, kPayloadMagic.size()) != kPayloadMagic) {
    return head.sound();  // Of an old exporter, without names of weights.
  }
  Reader reader(head.slice(head.read<uint32_t>(kGraphStart),
                           head.read<uint32_t>(kGraphBytes)));
  Table graph(reader, reader.follow(0));
  std::vector<Table> constants = graph.tables(kConstants);
  auto values = values_by_id(graph);
  for (Table& node : graph.tables(kNodes)) {
    auto linear = node.table(kUnion);
    if (!linear.has_value() || node.value<uint8_t>(kType) != kLinearNode) {
      continue;
    }
    const auto filter = values.find(linear->value<uint32_t>(kFilter));
    if (filter == values.end()) {
      continue;
    }
    const auto constant = filter->second.value<uint32_t>(kConstant);
    const std::string name(
        constant < constants.size() ? constants[constant].text(kName) : "");
    if (!name.empty() && reader.sound()) {
      const Shape shape =
          read_integers(reader, filter->second.vector(kDims, sizeof(uint32_t)));
      const Shape& first = shapes.emplace(name, shape).first->second;
      if (first != shape) {
        return mixed_up(path, shape, first, "the same program");
      }
    }
  }
  return head.sound() && reader.sound();
}

// The bytes that a delegate is made of; empty if there are none.
std::string_view find_payload(Reader& reader, Table program, Table delegate) {
  auto processed = delegate.table(kProcessed);
  if (!processed.has_value()) {
    return {};
  }
  const bool in_segment = processed->value<int8_t>(kLocation) == kInSegment;
  std::vector<Table> all =
      program.tables(in_segment ? kProgramSegments : kInlineData);
  const auto index = processed->value<uint32_t>(kIndex);
  reader.require(index < all.size());
  if (!reader.sound()) {
    return {};
  }
  Table& chosen = all[index];
  if (!in_segment) {
    return chosen.text(0);
  }
  return reader.slice(reader.read<uint64_t>(kSegmentsStart) +
                          chosen.value<uint64_t>(kSegmentOffset),
                      chosen.value<uint64_t>(kSegmentSize));
}

Result<bool> read_program(const std::string& path, std::string_view file,
                          WeightShapes& shapes) {
  Reader reader(file);
  Table program(reader, reader.follow(0));
  for (Table& plan : program.tables(kPlans)) {
    for (Table& delegate : plan.tables(kDelegates)) {
      if (delegate.text(kBackend) != "XnnpackBackend") {
        continue;
      }
      const auto payload = find_payload(reader, program, delegate);
      ASSIGN_OR_RETURN(const bool sound, read_payload(path, payload, shapes));
      reader.require(sound);
    }
  }
  return reader.sound();
}

}  // namespace

Result<WeightShapes> read_weight_shapes(const std::string& path) {
  RETURN_IF_FAILED(check_program_file(path));
  const FileHandle file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) {
    return Failure{path + ": cannot be opened: " + std::strerror(errno)};
  }
  ASSIGN_OR_RETURN(const MappedFile mapped, MappedFile::map(file, path));
  WeightShapes shapes;
  ASSIGN_OR_RETURN(const bool sound,
                   read_program(path, mapped.bytes(), shapes));
  if (!sound) {
    return Failure{
        path + " is damaged or not made for this ExecuTorch; build it again"};
  }
  return shapes;
}

Status check_shapes(const std::string& path, const WeightShapes& shapes,
                    const std::string& name, const WeightShapes& others) {
  for (const auto& [key, shape] : shapes) {
    const auto other = others.find(key);
    if (other != others.end() && other->second != shape) {
      return mixed_up(path, shape, other->second,
                      name + ", which is in memory");
    }
  }
  return Done{};
}

}  // namespace ptefoundry
