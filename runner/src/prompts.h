// What the programs are asked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "result.h"

namespace ptefoundry {

// Text, or token ids that bypass the tokenizer.
struct Prompt {
  std::optional<std::string> text;
  std::vector<int64_t> tokens;
};

// Ids separated by commas, such as "1,2,3".
Result<Prompt> parse_token_list(const std::string& list);

// A JSON list of strings and of objects {"prompt": text} or {"tokens": [ids]}.
Result<std::vector<Prompt>> read_prompt_file(const std::string& path);

}  // namespace ptefoundry
