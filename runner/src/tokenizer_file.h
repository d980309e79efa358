// Reading tokenizer.json of Hugging Face `tokenizers`.
#pragma once

#include <string>

#include "result.h"
#include "tokenizer.h"

namespace ptefoundry {

// Every element of the file is either followed or refused by name.
Result<TokenizerParts> read_tokenizer_file(const std::string& directory);

}  // namespace ptefoundry
