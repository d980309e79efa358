// Regular expressions of tokenizer.json, written for PCRE2.
#pragma once

#include <string>
#include <string_view>

#include "result.h"

namespace ptefoundry {

// Hugging Face tokenizers run Oniguruma (Ruby syntax, Unicode 16). Rewrites
// such a pattern so that PCRE2 with UTF and UCP matches the same text, and
// refuses, by name, every construct the two engines understand differently.
Result<std::string> translate_pattern(std::string_view oniguruma);

// The members of a Unicode general category ("L", "Nd", ...), for use inside
// of a PCRE2 character class. Fails on a property that is not supported.
Result<std::string> category_members(std::string_view name);

// Matches `text` itself.
std::string escape_pattern(std::string_view text);

}  // namespace ptefoundry
