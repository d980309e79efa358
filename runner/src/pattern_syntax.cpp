#include "pattern_syntax.h"

#include <cctype>
#include <cstdio>
#include <cstring>

#include "unicode_tables.h"

namespace ptefoundry {
namespace {

// White_Space. PCRE2's own \s also has U+180E, which Unicode took out of it.
constexpr char kSpaceMembers[] =
    "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}"
    "\\x{2029}\\x{202f}\\x{205f}\\x{3000}";

bool is_digit(char c) { return '0' <= c && c <= '9'; }

class Translator {
 public:
  explicit Translator(std::string_view source) : source_(source) {}

  Result<std::string> translate() {
    while (offset_ < source_.size()) {
      RETURN_IF_FAILED(translate_one());
    }
    return std::move(target_);
  }

 private:
  Failure refuse(const std::string& construct) const {
    return Failure{"the pattern " + std::string(source_) + " uses " +
                   construct + ", which is not supported"};
  }

  bool starts_with(std::string_view token) const {
    return source_.substr(offset_, token.size()) == token;
  }

  void copy(size_t count) {
    target_.append(source_.substr(offset_, count));
    offset_ += count;
  }

  Status translate_one() {
    const char c = source_[offset_];
    switch (c) {
      case '\\':
        return translate_escape(/*in_class=*/false);
      case '[':
        return translate_class();
      case '(':
        return translate_group();
      case '{':
        return translate_repeat();
      case '^':
      case '$':
        return refuse(std::string("the anchor ") + c);
      default:
        copy(1);
        return Done{};
    }
  }

  Status translate_group() {
    static constexpr const char* kOpenings[] = {
        "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    for (const char* opening : kOpenings) {
      if (starts_with(opening)) {
        copy(std::strlen(opening));
        return Done{};
      }
    }
    if (starts_with("(?") || starts_with("(*")) {
      return refuse("the group " + std::string(source_.substr(offset_, 4)));
    }
    copy(1);
    return Done{};
  }

  // {n}, {n,} and {n,m}. What may follow means other things in Ruby: there
  // {n}? is an optional {n} and {n,m}+ no possessive repeat.
  Status translate_repeat() {
    const size_t close = source_.find('}', offset_);
    const std::string_view repeat = source_.substr(
        offset_, close == std::string_view::npos ? close : close - offset_ + 1);
    const bool valid =
        close != std::string_view::npos && repeat.size() > 2 &&
        is_digit(repeat[1]) &&
        repeat.substr(1, repeat.size() - 2).find_first_not_of("0123456789,") ==
            std::string_view::npos;
    if (!valid) {
      return refuse("the brace " + std::string(repeat));
    }
    const char next = close + 1 < source_.size() ? source_[close + 1] : '\0';
    if (next == '+' || next == '?' || next == '*') {
      return refuse("the repeat " + std::string(repeat) + next);
    }
    copy(repeat.size());
    return Done{};
  }

  Status translate_class() {
    copy(1);
    if (starts_with("^")) {
      copy(1);
    }
    if (starts_with("]")) {
      return refuse("an empty character class");
    }
    while (offset_ < source_.size() && source_[offset_] != ']') {
      if (source_[offset_] == '[' || starts_with("&&")) {
        return refuse("a nested character class");
      }
      if (source_[offset_] == '\\') {
        RETURN_IF_FAILED(translate_escape(/*in_class=*/true));
      } else {
        copy(1);
      }
    }
    if (offset_ == source_.size()) {
      return refuse("a character class without end");
    }
    copy(1);
    return Done{};
  }

  Status translate_escape(bool in_class) {
    if (offset_ + 1 == source_.size()) {
      return refuse("a backslash at its end");
    }
    const char c = source_[offset_ + 1];
    switch (c) {
      case 's':
        offset_ += 2;
        append_members(kSpaceMembers, in_class, /*negated=*/false);
        return Done{};
      case 'S':
        if (in_class) {
          return refuse("\\S in a character class");
        }
        offset_ += 2;
        append_members(kSpaceMembers, in_class, /*negated=*/true);
        return Done{};
      case 'd':
        offset_ += 2;
        return append_category("Nd", in_class, /*negated=*/false);
      case 'p':
      case 'P':
        return translate_property(in_class);
      case 'r':
      case 'n':
      case 't':
      case 'f':
        copy(2);
        return Done{};
      default:
        if (is_digit(c) || std::isalpha(static_cast<unsigned char>(c)) != 0) {
          return refuse(std::string("the escape \\") + c);
        }
        copy(2);
        return Done{};
    }
  }

  Status translate_property(bool in_class) {
    const size_t close = source_.find('}', offset_);
    if (offset_ + 3 >= source_.size() || source_[offset_ + 2] != '{' ||
        close == std::string_view::npos) {
      return refuse("a property without braces");
    }
    bool negated = source_[offset_ + 1] == 'P';
    std::string_view name = source_.substr(offset_ + 3, close - offset_ - 3);
    if (!name.empty() && name[0] == '^') {
      negated = !negated;
      name.remove_prefix(1);
    }
    if (negated && in_class) {
      return refuse("a negated property in a character class");
    }
    offset_ = close + 1;
    return append_category(name, in_class, negated);
  }

  Status append_category(std::string_view name, bool in_class, bool negated) {
    ASSIGN_OR_RETURN(const std::string members, category_members(name));
    append_members(members, in_class, negated);
    return Done{};
  }

  void append_members(std::string_view members, bool in_class, bool negated) {
    if (in_class) {
      target_.append(members);
      return;
    }
    target_.append(negated ? "[^" : "[").append(members).append("]");
  }

  const std::string_view source_;
  size_t offset_ = 0;
  std::string target_;
};

}  // namespace

Result<std::string> translate_pattern(std::string_view oniguruma) {
  return Translator(oniguruma).translate();
}

Result<std::string> category_members(std::string_view name) {
  static constexpr const char* kSupported[] = {"L",  "Lu", "Ll", "Lt", "Lm",
                                               "Lo", "M",  "N",  "Nd", "Nl",
                                               "No", "P",  "S",  "Z"};
  for (const char* supported : kSupported) {
    if (name != supported) {
      continue;
    }
    std::string members = "\\p{" + std::string(name) + "}";
    for (const NewCharacters& added : kNewCharacters) {
      if (std::string_view(added.category).substr(0, name.size()) == name) {
        char range[32];
        std::snprintf(range, sizeof(range), "\\x{%x}-\\x{%x}", added.first,
                      added.last);
        members += range;
      }
    }
    return members;
  }
  return Failure{"the property \\p{" + std::string(name) +
                 "} is not supported in a pattern"};
}

std::string escape_pattern(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    // In PCRE2 a backslash takes the meaning from any ASCII punctuation.
    if (byte < 0x80 && std::ispunct(byte) != 0) {
      escaped += '\\';
    }
    escaped += c;
  }
  return escaped;
}

}  // namespace ptefoundry
