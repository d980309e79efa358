#include "flags.h"

#include <charconv>
#include <cstdint>
#include <sstream>

namespace ptefoundry {
namespace {

template <typename Number>
Result<Number> parse_number(const std::string& text, Number least,
                            Number most) {
  Number number{};
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || rest != end || !(number >= least) ||
      !(number <= most)) {
    std::ostringstream message;
    message << "'" << text << "' is not a number from " << least << " to "
            << most;
    return Failure{message.str()};
  }
  return number;
}

// Stores what the flag was given.
template <typename Target>
auto store(Target Options::* target) {
  return [target](Options& options, const std::string& value) -> Status {
    options.*target = value;
    return Done{};
  };
}

auto append(std::vector<std::string> Options::* target) {
  return [target](Options& options, const std::string& value) -> Status {
    (options.*target).push_back(value);
    return Done{};
  };
}

auto turn_on(bool Options::* target) {
  return [target](Options& options, const std::string&) -> Status {
    options.*target = true;
    return Done{};
  };
}

auto choose(Mode mode) {
  return [mode](Options& options, const std::string&) -> Status {
    options.mode = mode;
    return Done{};
  };
}

Status add_prompt_file(Options& options, const std::string& path) {
  ASSIGN_OR_RETURN(const auto prompts, read_prompt_file(path));
  options.prompts.insert(options.prompts.end(), prompts.begin(), prompts.end());
  return Done{};
}

Status add_tokens(Options& options, const std::string& list) {
  ASSIGN_OR_RETURN(Prompt prompt, parse_token_list(list));
  options.prompts.push_back(std::move(prompt));
  return Done{};
}

Status set_load_mode(Options& options, const std::string& mode) {
  if (mode != "mmap" && mode != "file") {
    return Failure{"'" + mode + "' is not a load mode; use mmap or file"};
  }
  options.load.mmap = mode == "mmap";
  return Done{};
}

}  // namespace

const std::vector<Flag>& flags() {
  static const std::vector<Flag> kFlags = {
      {"--program", "FILE", "program (.pte) to run; repeat for several",
       append(&Options::programs)},
      {"--on-demand", "FILE",
       "program that is loaded when a chat or request asks for it",
       append(&Options::on_demand)},
      {"--data", "FILE", "data file (.ptd) of the programs, their foundation",
       append(&Options::data_files)},
      {"--tokenizer", "DIR", "directory with tokenizer.json and chat.json",
       store(&Options::tokenizer)},
      {"--prompt", "TEXT", "what every program answers; repeat for several",
       [](Options& options, const std::string& text) -> Status {
         options.prompts.push_back({text, {}});
         return Done{};
       }},
      {"--prompt-file", "FILE", "JSON list of texts or of {\"tokens\": [ids]}",
       add_prompt_file},
      {"--tokens", "IDS", "a prompt as token ids, such as 1,2,3", add_tokens},
      {"--chat-template", nullptr, "wrap prompts as the user's turn of a chat",
       turn_on(&Options::chat_template)},
      {"--chat", nullptr,
       "talk to a program; /adapter NAME switches, /clear forgets, /exit ends",
       choose(Mode::kChat)},
      {"--serve-stdio", nullptr,
       "answer requests, a JSON document on each line of standard input",
       choose(Mode::kServe)},
      {"--tokenize-only", nullptr,
       "print the token ids of the prompts (or the text of ids) as JSON",
       choose(Mode::kTokenize)},
      {"--max-new-tokens", "N", "length of an answer in tokens (128)",
       [](Options& options, const std::string& text) -> Status {
         ASSIGN_OR_RETURN(options.max_new_tokens,
                          parse_number<int64_t>(text, 0, 1 << 24));
         return Done{};
       }},
      {"--temperature", "T", "0 takes the most likely token (0)",
       [](Options& options, const std::string& text) -> Status {
         ASSIGN_OR_RETURN(options.sampling.temperature,
                          parse_number<double>(text, 0, 100));
         return Done{};
       }},
      {"--top-p", "P", "sample from the likeliest tokens of this sum (1)",
       [](Options& options, const std::string& text) -> Status {
         ASSIGN_OR_RETURN(options.sampling.top_p,
                          parse_number<double>(text, 0, 1));
         return Done{};
       }},
      {"--seed", "N", "of the sampling; an answer repeats with it (0)",
       [](Options& options, const std::string& text) -> Status {
         ASSIGN_OR_RETURN(options.sampling.seed,
                          parse_number<uint64_t>(text, 0, UINT64_MAX));
         return Done{};
       }},
      {"--logits-out", "DIR",
       "write fp32 logits after each prompt to <program>-<prompt>.f32",
       store(&Options::logits_directory)},
      {"--threads", "N", "size of the thread pool (one per fast core)",
       [](Options& options, const std::string& text) -> Status {
         ASSIGN_OR_RETURN(options.threads, parse_number<int>(text, 1, 1024));
         return Done{};
       }},
      {"--load-mode", "MODE", "mmap or file (mmap)", set_load_mode},
      {"--no-weight-cache", nullptr, "pack weights for every program anew",
       [](Options& options, const std::string&) -> Status {
         options.load.weight_cache = false;
         options.packed_cache.enabled = false;  // a part of the same mechanism
         return Done{};
       }},
      {"--packed-cache", "DIR",
       "keep packed weights here for the next start (the user's cache)",
       [](Options& options, const std::string& directory) -> Status {
         if (directory.empty()) {
           return Failure{"expected a folder, found nothing"};
         }
         options.packed_cache.directory = directory;
         return Done{};
       }},
      {"--packed-cache-max-bytes", "N",
       "of all foundations kept there; the oldest go first (16 GiB)",
       [](Options& options, const std::string& text) -> Status {
         ASSIGN_OR_RETURN(options.packed_cache.max_bytes,
                          parse_number<uint64_t>(text, 0, UINT64_MAX));
         return Done{};
       }},
      {"--no-packed-cache", nullptr, "pack weights at every start anew",
       [](Options& options, const std::string&) -> Status {
         options.packed_cache.enabled = false;
         return Done{};
       }},
      {"--json", nullptr, "print one JSON document instead of text",
       turn_on(&Options::json)},
      {"--quiet", nullptr, "print the answers only", turn_on(&Options::quiet)},
      {"--verbose", nullptr, "show what the runtime logs",
       turn_on(&Options::verbose)},
      {"--version", nullptr, "print the version", choose(Mode::kVersion)},
      {"--help", nullptr, "print this text", choose(Mode::kHelp)}};
  return kFlags;
}

}  // namespace ptefoundry
