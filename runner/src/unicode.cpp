#include "unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <memory>

namespace ptefoundry {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";  // U+FFFD

// The outcome of reading one code point from bytes of any kind.
struct Decoded {
  enum class Kind { kValid, kInvalid, kUnfinished };
  Kind kind;
  size_t length;  // bytes read; of an invalid sequence its longest valid start
};

bool is_between(unsigned char byte, unsigned char first, unsigned char last) {
  return first <= byte && byte <= last;
}

Decoded decode(std::string_view text, size_t offset) {
  const auto at = [&](size_t i) {
    return static_cast<unsigned char>(text[offset + i]);
  };
  const unsigned char lead = at(0);
  if (lead < 0x80) {
    return {Decoded::Kind::kValid, 1};
  }
  size_t length = 0;
  // The second byte's range excludes overlong forms, surrogates and code
  // points beyond U+10FFFF.
  unsigned char first = 0x80;
  unsigned char last = 0xBF;
  if (is_between(lead, 0xC2, 0xDF)) {
    length = 2;
  } else if (is_between(lead, 0xE0, 0xEF)) {
    length = 3;
    first = lead == 0xE0 ? 0xA0 : first;
    last = lead == 0xED ? 0x9F : last;
  } else if (is_between(lead, 0xF0, 0xF4)) {
    length = 4;
    first = lead == 0xF0 ? 0x90 : first;
    last = lead == 0xF4 ? 0x8F : last;
  } else {
    return {Decoded::Kind::kInvalid, 1};
  }
  for (size_t i = 1; i < length; ++i) {
    if (offset + i == text.size()) {
      return {Decoded::Kind::kUnfinished, i};
    }
    if (!is_between(at(i), first, last)) {
      return {Decoded::Kind::kInvalid, i};
    }
    first = 0x80;
    last = 0xBF;
  }
  return {Decoded::Kind::kValid, length};
}

struct Range {
  char32_t first;
  char32_t last;
};

// Combining marks that joined Unicode after version 10. The Hugging Face
// normalizer does not know their classes and neither reorders nor composes
// across them, and token ids have to follow it.
constexpr Range kUnorderedMarks[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},
    {0x9FE, 0x9FE},     {0xC3C, 0xC3C},     {0xD3B, 0xD3C},
    {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},
    {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10D24, 0x10D27},
    {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50},
    {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B},
    {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930},
    {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
    {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99},
    {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97},
    {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F},
    {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
    {0x1E4EC, 0x1E4EF}};

bool is_unordered_mark(char32_t code_point) {
  const auto range = std::lower_bound(
      std::begin(kUnorderedMarks), std::end(kUnorderedMarks), code_point,
      [](const Range& r, char32_t c) { return r.last < c; });
  return range != std::end(kUnorderedMarks) && range->first <= code_point;
}

Status append_nfc(std::string_view text, std::string& normalized) {
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(
      reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
      static_cast<utf8proc_ssize_t>(text.size()), &mapped,
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (size < 0) {
    return Failure{std::string("cannot normalize the text: ") +
                   utf8proc_errmsg(size)};
  }
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(
      mapped, &std::free);
  normalized.append(reinterpret_cast<const char*>(mapped),
                    static_cast<size_t>(size));
  return Done{};
}

}  // namespace

size_t find_invalid_utf8(std::string_view text) {
  for (size_t offset = 0; offset < text.size();) {
    const Decoded decoded = decode(text, offset);
    if (decoded.kind != Decoded::Kind::kValid) {
      return offset;
    }
    offset += decoded.length;
  }
  return std::string_view::npos;
}

char32_t next_code_point(std::string_view text, size_t& offset) {
  const size_t length = decode(text, offset).length;
  const auto lead = static_cast<unsigned char>(text[offset]);
  char32_t code_point = length == 1 ? lead : lead & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) {
    code_point =
        code_point << 6 | (static_cast<unsigned char>(text[offset + i]) & 0x3F);
  }
  offset += length;
  return code_point;
}

void append_utf8(char32_t code_point, std::string& text) {
  const auto byte = [&](char32_t value) {
    text.push_back(static_cast<char>(value));
  };
  if (code_point < 0x80) {
    byte(code_point);
    return;
  }
  if (code_point < 0x800) {
    byte(0xC0 | code_point >> 6);
  } else if (code_point < 0x10000) {
    byte(0xE0 | code_point >> 12);
    byte(0x80 | (code_point >> 6 & 0x3F));
  } else {
    byte(0xF0 | code_point >> 18);
    byte(0x80 | (code_point >> 12 & 0x3F));
    byte(0x80 | (code_point >> 6 & 0x3F));
  }
  byte(0x80 | (code_point & 0x3F));
}

Result<std::string> normalize_nfc(std::string_view text) {
  std::string normalized;
  normalized.reserve(text.size());
  size_t start = 0;
  for (size_t offset = 0; offset < text.size();) {
    const size_t mark = offset;
    if (!is_unordered_mark(next_code_point(text, offset))) {
      continue;
    }
    RETURN_IF_FAILED(append_nfc(text.substr(start, mark - start), normalized));
    normalized.append(text.substr(mark, offset - mark));
    start = offset;
  }
  RETURN_IF_FAILED(append_nfc(text.substr(start), normalized));
  return normalized;
}

std::string Utf8Stream::feed(std::string_view bytes) {
  pending_.append(bytes);
  std::string text;
  size_t offset = 0;
  while (offset < pending_.size()) {
    const Decoded decoded = decode(pending_, offset);
    if (decoded.kind == Decoded::Kind::kUnfinished) {
      break;
    }
    if (decoded.kind == Decoded::Kind::kValid) {
      text.append(pending_, offset, decoded.length);
    } else {
      text.append(kReplacement);
    }
    offset += decoded.length;
  }
  pending_.erase(0, offset);
  return text;
}

std::string Utf8Stream::finish() {
  const bool unfinished = !pending_.empty();
  pending_.clear();
  return unfinished ? kReplacement : "";
}

}  // namespace ptefoundry
