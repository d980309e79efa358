// UTF-8 and Unicode as the tokenizer needs them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "result.h"

namespace ptefoundry {

// Position of the first byte that is not part of valid UTF-8, or npos.
size_t find_invalid_utf8(std::string_view text);

// Decodes the code point at `offset` of valid UTF-8 and moves past it.
char32_t next_code_point(std::string_view text, size_t& offset);

void append_utf8(char32_t code_point, std::string& text);

// Normalization form C of valid UTF-8. Marks newer than Unicode 10 are left
// where they stand, as the Hugging Face normalizer leaves them.
Result<std::string> normalize_nfc(std::string_view text);

// Turns the bytes of a token stream into text: holds back an unfinished code
// point until its rest arrives and puts U+FFFD for bytes that cannot be text.
class Utf8Stream {
 public:
  // The text that is complete now.
  std::string feed(std::string_view bytes);

  // The text of what was held back, at the end of the stream.
  std::string finish();

 private:
  std::string pending_;
};

}  // namespace ptefoundry
