#include "prompts.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "files.h"

namespace ptefoundry {
namespace {

using nlohmann::json;

Prompt read_prompt(const json& entry) {
  if (entry.is_object() && entry.contains("tokens")) {
    return {std::nullopt, entry.at("tokens").get<std::vector<int64_t>>()};
  }
  const json& text = entry.is_object() ? entry.at("prompt") : entry;
  return {text.get<std::string>(), {}};
}

}  // namespace

Result<Prompt> parse_token_list(const std::string& list) {
  Prompt prompt;
  const char* next = list.data();
  const char* const end = list.data() + list.size();
  while (true) {
    int64_t id = 0;
    const auto [rest, error] = std::from_chars(next, end, id);
    if (error != std::errc() || (rest != end && *rest != ',')) {
      return Failure{"'" + list +
                     "' is not a list of ids separated by commas, such as "
                     "1,2,3"};
    }
    prompt.tokens.push_back(id);
    if (rest == end) {
      return prompt;
    }
    next = rest + 1;
  }
}

Result<std::vector<Prompt>> read_prompt_file(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, read_text_file(path));
  try {
    const json file = json::parse(text);
    if (!file.is_array()) {
      return Failure{path + ": expected a JSON list of prompts, found " +
                     file.type_name()};
    }
    std::vector<Prompt> prompts;
    for (const json& entry : file) {
      prompts.push_back(read_prompt(entry));
    }
    return prompts;
  } catch (const json::exception& error) {
    return Failure{path +
                   ": expected a JSON list of strings or of objects "
                   "with \"prompt\" or \"tokens\": " +
                   error.what()};
  }
}

}  // namespace ptefoundry
