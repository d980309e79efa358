// The command line.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "packed_cache.h"
#include "program.h"
#include "prompts.h"
#include "result.h"
#include "sampling.h"

namespace ptefoundry {

enum class Mode { kGenerate, kChat, kServe, kTokenize, kHelp, kVersion };

struct Options {
  Mode mode = Mode::kGenerate;
  std::vector<std::string> programs;   // loaded at once
  std::vector<std::string> on_demand;  // loaded when they are asked for
  std::vector<std::string> data_files;
  std::string tokenizer;  // directory
  std::vector<Prompt> prompts;
  bool chat_template = false;
  int64_t max_new_tokens = 128;
  SamplingOptions sampling;
  LoadOptions load;
  PackedCacheOptions packed_cache;
  std::optional<int> threads;
  std::string logits_directory;
  bool json = false;
  bool quiet = false;
  bool verbose = false;
};

// Fails on anything it does not understand, naming the flag.
Result<Options> parse_options(const std::vector<std::string>& arguments);

// The text of --help.
std::string usage();

}  // namespace ptefoundry
