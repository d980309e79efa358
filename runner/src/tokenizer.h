// Text to token ids and back, as Hugging Face `tokenizers` does it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "added_tokens.h"
#include "bpe.h"
#include "pretokenizer.h"
#include "result.h"
#include "string_table.h"

namespace ptefoundry {

// What a tokenizer.json describes.
struct TokenizerParts {
  AddedTokenFinder raw_tokens;         // looked for in the text as given
  AddedTokenFinder normalized_tokens;  // looked for in the normalized text
  bool nfc;  // the normalizer; otherwise there is none
  Pretokenizer pretokenizer;
  Bpe bpe;
  std::vector<int64_t> prefix;  // that the post-processor puts before a text
  std::vector<int64_t> suffix;
  StringTable bytes_by_id;  // empty for special tokens
};

class Tokenizer {
 public:
  // Reads `tokenizer.json` of a directory and refuses what it cannot follow.
  static Result<Tokenizer> load(const std::string& directory);

  explicit Tokenizer(TokenizerParts parts) : parts_(std::move(parts)) {}

  // The ids of a text together with those the post-processor adds, such as a
  // beginning-of-sequence token.
  Result<std::vector<int64_t>> encode(std::string_view text) const;

  // The ids of a text that is complete as it stands. Within `literal` no
  // special token is recognised: it may come from anybody.
  Result<std::vector<int64_t>> encode_verbatim(std::string_view text,
                                               ByteRange literal) const;

  // What a token adds to the text, possibly a part of a code point. Nothing
  // for special tokens and for ids the vocabulary does not have.
  std::string_view bytes_of(int64_t id) const;

 private:
  Status encode_stretch(const std::string& normalized, ByteRange literal,
                        std::vector<int64_t>& ids) const;

  TokenizerParts parts_;
};

}  // namespace ptefoundry
