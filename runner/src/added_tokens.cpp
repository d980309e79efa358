#include "added_tokens.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "pattern_syntax.h"
#include "unicode.h"

namespace ptefoundry {
namespace {

bool overlaps(ByteRange a, ByteRange b) {
  return a.begin < b.end && b.begin < a.end;
}

bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

// The last code point of a non-empty text.
std::string_view last_character(std::string_view text) {
  size_t start = text.size() - 1;
  while (is_continuation(text[start])) {
    --start;
  }
  return text.substr(start);
}

bool is_white_space(std::string_view character) {
  size_t offset = 0;
  const char32_t c = next_code_point(character, offset);
  return (0x9 <= c && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (0x2000 <= c && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

size_t strip_left(std::string_view text, size_t begin) {
  while (begin > 0) {
    const std::string_view character = last_character(text.substr(0, begin));
    if (!is_white_space(character)) {
      break;
    }
    begin -= character.size();
  }
  return begin;
}

size_t strip_right(std::string_view text, size_t end) {
  while (end < text.size() && is_white_space(text.substr(end))) {
    next_code_point(text, end);
  }
  return end;
}

// Unicode's definition of a word character, as Rust's regex crate has it.
Result<Pattern> word_character() {
  std::string members = "\\p{Alphabetic}\\p{Pc}\\x{200c}\\x{200d}";
  for (const char* category : {"L", "M", "Nd"}) {
    ASSIGN_OR_RETURN(const std::string more, category_members(category));
    members += more;
  }
  return Pattern::compile("[" + members + "]");
}

}  // namespace

Result<std::vector<AddedToken>> read_added_tokens(const nlohmann::json& list) {
  std::vector<AddedToken> tokens;
  for (const nlohmann::json& entry : list) {
    const bool special = entry.value("special", false);
    tokens.push_back(
        {entry.at("id").get<int64_t>(), entry.at("content").get<std::string>(),
         entry.value("single_word", false), entry.value("lstrip", false),
         entry.value("rstrip", false), entry.value("normalized", !special),
         special});
    if (tokens.back().content.empty()) {
      return Failure{"the added token " + std::to_string(tokens.back().id) +
                     " is empty"};
    }
  }
  return tokens;
}

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens, Pattern word)
    : word_(std::move(word)) {
  std::sort(tokens.begin(), tokens.end(),
            [](const AddedToken& a, const AddedToken& b) {
              return a.content.size() > b.content.size();
            });
  for (AddedToken& token : tokens) {
    tokens_[token.content.front()].push_back(std::move(token));
  }
}

Result<AddedTokenFinder> AddedTokenFinder::create(
    std::vector<AddedToken> tokens) {
  ASSIGN_OR_RETURN(Pattern word, word_character());
  return AddedTokenFinder(std::move(tokens), std::move(word));
}

const AddedToken* AddedTokenFinder::match_at(std::string_view text,
                                             size_t offset,
                                             ByteRange literal) const {
  const auto candidates = tokens_.find(text[offset]);
  if (candidates == tokens_.end()) {
    return nullptr;
  }
  for (const AddedToken& token : candidates->second) {
    const ByteRange match = {offset, offset + token.content.size()};
    const bool barred = token.special && overlaps(match, literal);
    if (!barred && text.substr(offset, token.content.size()) == token.content) {
      return &token;
    }
  }
  return nullptr;
}

Result<bool> AddedTokenFinder::stands_alone(std::string_view text,
                                            ByteRange match) const {
  std::string neighbours;
  if (match.begin > 0) {
    neighbours += last_character(text.substr(0, match.begin));
  }
  if (match.end < text.size()) {
    size_t after = match.end;
    next_code_point(text, after);
    neighbours += text.substr(match.end, after - match.end);
  }
  ASSIGN_OR_RETURN(const auto words, word_.find_all(neighbours));
  return words.empty();
}

Result<std::vector<Stretch>> AddedTokenFinder::find(std::string_view text,
                                                    ByteRange literal) const {
  std::vector<Stretch> stretches;
  size_t covered = 0;
  for (size_t offset = 0; offset < text.size();) {
    const AddedToken* token = match_at(text, offset, literal);
    if (token == nullptr) {
      ++offset;
      continue;
    }
    ByteRange match = {offset, offset + token->content.size()};
    offset = match.end;
    if (token->single_word) {
      ASSIGN_OR_RETURN(const bool alone, stands_alone(text, match));
      if (!alone) {
        continue;
      }
    }
    if (token->lstrip) {
      match.begin = std::max(strip_left(text, match.begin), covered);
    }
    if (token->rstrip) {
      match.end = strip_right(text, match.end);
    }
    if (covered < match.begin) {
      stretches.push_back({{covered, match.begin}, std::nullopt});
    }
    stretches.push_back({match, token->id});
    covered = match.end;
  }
  if (covered < text.size()) {
    stretches.push_back({{covered, text.size()}, std::nullopt});
  }
  return stretches;
}

}  // namespace ptefoundry
