#include "pretokenizer.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "json_sequence.h"
#include "pattern.h"
#include "pattern_syntax.h"

namespace ptefoundry {
namespace {

using nlohmann::json;

constexpr char kByteLevelPattern[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// `Digits` goes by Rust's notion of numeric, which is Unicode 17 already.
constexpr char kNewNumbers[] = "\\x{11de0}-\\x{11de9}\\x{16ff4}-\\x{16ff6}";

// What happens to the text a pattern matches.
enum class Behavior {
  kRemoved,
  kIsolated,
  kMergedWithPrevious,
  kMergedWithNext,
  kContiguous
};

struct Section {
  ByteRange range;
  bool is_match;
};

// Covers the whole text: the matches and what lies between them.
std::vector<Section> alternate(const std::vector<ByteRange>& matches,
                               size_t size, bool invert) {
  std::vector<Section> sections;
  size_t end = 0;
  for (const ByteRange& match : matches) {
    if (end < match.begin) {
      sections.push_back({{end, match.begin}, invert});
    }
    sections.push_back({match, !invert});
    end = match.end;
  }
  if (end < size) {
    sections.push_back({{end, size}, invert});
  }
  return sections;
}

std::vector<ByteRange> merge(const std::vector<Section>& sections,
                             Behavior behavior) {
  std::vector<ByteRange> parts;
  bool previous_match = false;
  for (size_t i = 0; i < sections.size(); ++i) {
    const Section& section = sections[i];
    if (section.is_match && behavior == Behavior::kRemoved) {
      continue;
    }
    const bool before_was_match = i > 0 && sections[i - 1].is_match;
    bool joins_last = false;
    switch (behavior) {
      case Behavior::kMergedWithPrevious:
        joins_last = section.is_match && !before_was_match;
        break;
      case Behavior::kMergedWithNext:
        joins_last = !section.is_match && before_was_match;
        break;
      case Behavior::kContiguous:
        joins_last = section.is_match == previous_match;
        break;
      case Behavior::kRemoved:
      case Behavior::kIsolated:
        break;
    }
    if (joins_last && !parts.empty()) {
      parts.back().end = section.range.end;
    } else {
      parts.push_back(section.range);
    }
    previous_match = section.is_match;
  }
  return parts;
}

class PatternStep : public SplitStep {
 public:
  PatternStep(Pattern pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  Status split(const std::string& piece,
               std::vector<std::string>& parts) const override {
    ASSIGN_OR_RETURN(const auto matches, pattern_.find_all(piece));
    const auto sections = alternate(matches, piece.size(), invert_);
    for (const ByteRange& part : merge(sections, behavior_)) {
      parts.push_back(piece.substr(part.begin, part.end - part.begin));
    }
    return Done{};
  }

 private:
  Pattern pattern_;
  Behavior behavior_;
  bool invert_;
};

// The part of ByteLevel that cuts; its byte alphabet belongs to the vocabulary.
class ByteLevelStep : public SplitStep {
 public:
  ByteLevelStep(bool add_prefix_space, std::optional<PatternStep> pattern)
      : add_prefix_space_(add_prefix_space), pattern_(std::move(pattern)) {}

  Status split(const std::string& piece,
               std::vector<std::string>& parts) const override {
    const bool prefix = add_prefix_space_ && piece.front() != ' ';
    const std::string text = prefix ? " " + piece : piece;
    if (pattern_.has_value()) {
      return pattern_->split(text, parts);
    }
    parts.push_back(text);
    return Done{};
  }

 private:
  bool add_prefix_space_;
  std::optional<PatternStep> pattern_;
};

Result<Behavior> read_behavior(const std::string& name) {
  static constexpr std::pair<const char*, Behavior> kNames[] = {
      {"Removed", Behavior::kRemoved},
      {"Isolated", Behavior::kIsolated},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext},
      {"Contiguous", Behavior::kContiguous}};
  for (const auto& [known, behavior] : kNames) {
    if (name == known) {
      return behavior;
    }
  }
  return Failure{"the split behavior " + name + " is not supported"};
}

Result<std::string> read_pattern(const json& pattern) {
  if (pattern.contains("Regex")) {
    return translate_pattern(pattern.at("Regex").get<std::string>());
  }
  return escape_pattern(pattern.at("String").get<std::string>());
}

Result<PatternStep> make_pattern_step(const std::string& pattern,
                                      Behavior behavior, bool invert) {
  ASSIGN_OR_RETURN(Pattern compiled, Pattern::compile(pattern));
  return PatternStep(std::move(compiled), behavior, invert);
}

using Steps = std::vector<std::unique_ptr<SplitStep>>;

Status add_split(const json& spec, Steps& steps) {
  ASSIGN_OR_RETURN(const std::string pattern, read_pattern(spec.at("pattern")));
  ASSIGN_OR_RETURN(const Behavior behavior,
                   read_behavior(spec.at("behavior").get<std::string>()));
  ASSIGN_OR_RETURN(
      PatternStep step,
      make_pattern_step(pattern, behavior, spec.value("invert", false)));
  steps.push_back(std::make_unique<PatternStep>(std::move(step)));
  return Done{};
}

Status add_digits(const json& spec, Steps& steps) {
  ASSIGN_OR_RETURN(const std::string numbers, category_members("N"));
  const Behavior behavior = spec.value("individual_digits", false)
                                ? Behavior::kIsolated
                                : Behavior::kContiguous;
  ASSIGN_OR_RETURN(PatternStep step,
                   make_pattern_step("[" + numbers + kNewNumbers + "]",
                                     behavior, /*invert=*/false));
  steps.push_back(std::make_unique<PatternStep>(std::move(step)));
  return Done{};
}

Status add_byte_level(const json& spec, Steps& steps) {
  std::optional<PatternStep> pattern;
  if (spec.value("use_regex", true)) {
    ASSIGN_OR_RETURN(const std::string translated,
                     translate_pattern(kByteLevelPattern));
    ASSIGN_OR_RETURN(pattern, make_pattern_step(translated, Behavior::kIsolated,
                                                /*invert=*/false));
  }
  steps.push_back(std::make_unique<ByteLevelStep>(
      spec.value("add_prefix_space", true), std::move(pattern)));
  return Done{};
}

}  // namespace

Pretokenizer::Pretokenizer(Steps steps) : steps_(std::move(steps)) {}

Result<Pretokenizer> Pretokenizer::create(const json& spec) {
  Steps steps;
  bool has_byte_level = false;
  for (const json& element : flatten_sequence(spec, "pretokenizers")) {
    const auto type = element.at("type").get<std::string>();
    if (has_byte_level) {
      return Failure{"the pre-tokenizer " + type +
                     " after ByteLevel is not supported"};
    }
    if (type == "Split") {
      RETURN_IF_FAILED(add_split(element, steps));
    } else if (type == "Digits") {
      RETURN_IF_FAILED(add_digits(element, steps));
    } else if (type == "ByteLevel") {
      RETURN_IF_FAILED(add_byte_level(element, steps));
      has_byte_level = true;
    } else {
      return Failure{"the pre-tokenizer " + type + " is not supported"};
    }
  }
  if (!has_byte_level) {
    return Failure{"a pre-tokenizer without ByteLevel is not supported"};
  }
  return Pretokenizer(std::move(steps));
}

Result<std::vector<std::string>> Pretokenizer::split(
    const std::string& text) const {
  std::vector<std::string> pieces;
  if (!text.empty()) {
    pieces.push_back(text);
  }
  for (const auto& step : steps_) {
    std::vector<std::string> parts;
    for (const std::string& piece : pieces) {
      RETURN_IF_FAILED(step->split(piece, parts));
    }
    pieces = std::move(parts);
  }
  return pieces;
}

}  // namespace ptefoundry
