// Programs over one foundation, a tokenizer, and the answers they give.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chat_template.h"
#include "generate.h"
#include "memory_use.h"
#include "options.h"
#include "packed_cache.h"
#include "program.h"
#include "result.h"
#include "tokenizer.h"

namespace ptefoundry {

struct LoadedProgram {
  std::unique_ptr<Program> program;
  std::vector<int64_t> eos_ids;  // of the program and of the chat template
  double load_s;
  MemoryUse after_load;  // of the process, with all programs before this one
};

struct Answer {
  std::vector<int64_t> prompt_tokens;
  Generation generation;
  std::optional<std::string> text;  // needs a tokenizer
  MemoryUse after_generate;
};

// Takes text as soon as it is complete.
using OnText = std::function<void(const std::string& text)>;

class Runner {
 public:
  using OnNote = std::function<void(const std::string& note)>;

  // Loads everything the options name, programs last. `on_note` takes what a
  // person should know although nothing failed.
  static Result<Runner> load(const Options& options, const OnNote& on_note);

  const std::vector<LoadedProgram>& programs() const { return programs_; }
  const PackedCache& packed_cache() const { return packed_cache_; }
  const std::optional<Chat>& chat() const { return chat_; }

  // The ids of a prompt, as the user's turn if the options ask for that.
  Result<std::vector<int64_t>> encode(const Prompt& prompt) const;
  Result<std::vector<int64_t>> encode_turn(const ChatTurn& turn,
                                           const std::string& user) const;
  // The text of ids, without special tokens.
  std::string decode(const std::vector<int64_t>& ids) const;

  // Answers in a history of its own.
  Result<Answer> answer(const LoadedProgram& program,
                        const std::vector<int64_t>& prompt_tokens,
                        const OnText& on_text) const;
  // Answers in a history that may go on.
  Result<Answer> answer(const LoadedProgram& program, History& history,
                        Sampler& sampler,
                        const std::vector<int64_t>& prompt_tokens,
                        const OnText& on_text) const;

 private:
  explicit Runner(Options options) : options_(std::move(options)) {}

  Status load_text();
  Status find_packed_weights(const OnNote& on_note);
  Status load_program(const std::string& path);

  Options options_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<Chat> chat_;  // if the options ask for one
  std::vector<int64_t> template_eos_ids_;
  PackedCache packed_cache_;  // outlives the programs that map its file
  std::vector<LoadedProgram> programs_;
};

}  // namespace ptefoundry
