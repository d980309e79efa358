// Tokens that are found in the text before anything else cuts it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "pattern.h"
#include "result.h"

namespace ptefoundry {

// One element of `added_tokens` in tokenizer.json.
struct AddedToken {
  int64_t id;
  std::string content;
  bool single_word;  // only if no word character touches it
  bool lstrip;       // takes the white space on its left along
  bool rstrip;
  bool normalized;  // looked for in the normalized text
  bool special;
};

Result<std::vector<AddedToken>> read_added_tokens(const nlohmann::json& list);

// A stretch of text, or the added token it was found to be.
struct Stretch {
  ByteRange range;
  std::optional<int64_t> id;
};

class AddedTokenFinder {
 public:
  static Result<AddedTokenFinder> create(std::vector<AddedToken> tokens);

  // Cuts the text at the leftmost, longest tokens. A special token that
  // overlaps `literal` is text.
  Result<std::vector<Stretch>> find(std::string_view text,
                                    ByteRange literal) const;

 private:
  AddedTokenFinder(std::vector<AddedToken> tokens, Pattern word);

  const AddedToken* match_at(std::string_view text, size_t offset,
                             ByteRange literal) const;
  Result<bool> stands_alone(std::string_view text, ByteRange match) const;

  // By first byte, longest first.
  std::unordered_map<char, std::vector<AddedToken>> tokens_;
  Pattern word_;  // one word character
};

}  // namespace ptefoundry
