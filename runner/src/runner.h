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
#include "programs.h"
#include "result.h"
#include "tokenizer.h"

namespace ptefoundry {

struct Answer {
  std::vector<int64_t> prompt_tokens;
  Generation generation;
  std::optional<std::string> text;  // needs a tokenizer
  MemoryUse after_generate;
};

// Takes text as soon as it is complete.
using OnText = std::function<void(const std::string& text)>;

struct AnswerOptions {
  int64_t max_new_tokens = 128;
  std::vector<std::string> stop;    // texts that end an answer
  std::function<bool()> cancelled;  // asked after each token, if there
};

class Runner {
 public:
  using OnNote = std::function<void(const std::string& note)>;

  // Loads everything the options name, programs last. `on_note` takes what a
  // person should know although nothing failed.
  static Result<Runner> load(const Options& options, const OnNote& on_note);

  Programs& programs() { return programs_; }
  const Programs& programs() const { return programs_; }
  const PackedCache& packed_cache() const { return packed_cache_; }
  bool has_tokenizer() const { return tokenizer_.has_value(); }
  // Fails if the tokenizer has no chat.
  Result<Chat> chat() const;

  // The ids of a prompt, as the user's turn if the options ask for that.
  Result<std::vector<int64_t>> encode(const Prompt& prompt) const;
  Result<std::vector<int64_t>> encode_turn(const ChatTurn& turn,
                                           const std::string& user) const;
  // The ids of a text in which nothing is special.
  Result<std::vector<int64_t>> encode_literal(const std::string& text) const;
  // The text of ids, without special tokens.
  std::string decode(const std::vector<int64_t>& ids) const;

  // What the options ask for.
  AnswerOptions answer_options() const;

  // Answers in the program's own history, of which it keeps what `tokens` begin
  // with. At least the last token is fed.
  Result<Answer> continue_history(LoadedProgram& program, Sampler& sampler,
                                  const std::vector<int64_t>& tokens,
                                  const AnswerOptions& options,
                                  const OnText& on_text) const;

  // Answers in a history that may go on.
  Result<Answer> answer(const LoadedProgram& program, History& history,
                        Sampler& sampler,
                        const std::vector<int64_t>& prompt_tokens,
                        const AnswerOptions& options,
                        const OnText& on_text) const;

 private:
  explicit Runner(Options options) : options_(std::move(options)) {}

  Status load_text();
  Status find_packed_weights(const OnNote& on_note);
  Status load_programs();

  Options options_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> template_;
  PackedCache packed_cache_;  // outlives the programs that map its file
  Programs programs_;
};

}  // namespace ptefoundry
