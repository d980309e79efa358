#include "runner.h"

#include <filesystem>

#include "stop_filter.h"
#include "unicode.h"

namespace ptefoundry {

Result<Runner> Runner::load(const Options& options, const OnNote& on_note) {
  Runner runner(options);
  RETURN_IF_FAILED(runner.load_text());
  RETURN_IF_FAILED(runner.find_packed_weights(on_note));
  if (options.threads.has_value()) {
    RETURN_IF_FAILED(set_thread_count(*options.threads));
  }
  RETURN_IF_FAILED(runner.load_programs());
  return runner;
}

Status Runner::load_text() {
  const std::string& directory = options_.tokenizer;
  if (directory.empty()) {
    return Done{};
  }
  ASSIGN_OR_RETURN(tokenizer_, Tokenizer::load(directory));
  // Its file was a document of many times what is kept of it. Programs would
  // use that memory, but not all of it, and would seem to cost less.
  give_back_freed_memory();
  // The file also names end-of-sequence tokens, so it is read if there.
  const bool wants_chat =
      options_.chat_template || options_.mode == Mode::kChat;
  std::error_code error;
  if (!wants_chat &&
      !std::filesystem::exists(directory + "/chat.json", error)) {
    return Done{};
  }
  ASSIGN_OR_RETURN(template_, read_chat_template(directory));
  if (wants_chat) {
    RETURN_IF_FAILED(chat());
  }
  return Done{};
}

Status Runner::find_packed_weights(const OnNote& on_note) {
  const auto& programs =
      options_.programs.empty() ? options_.on_demand : options_.programs;
  if (programs.empty()) {
    return Done{};
  }
  // All programs over a foundation pack its weights alike.
  const auto pack = [&](const std::string& path) -> Status {
    LoadOptions load = options_.load;
    load.packed_file = path;
    RETURN_IF_FAILED(
        Program::load(programs.front(), options_.data_files, load));
    return Done{};
  };
  ASSIGN_OR_RETURN(packed_cache_,
                   open_packed_cache(options_.packed_cache, options_.data_files,
                                     pack, on_note));
  if (packed_cache_.file.has_value()) {
    // The backend opens it anew whenever no program is in memory. If another
    // process had removed it meanwhile, it would make one that nobody sealed.
    options_.load.packed_file =
        path_of(packed_cache_.file->lock, packed_cache_.file->path);
  }
  return Done{};
}

Status Runner::load_programs() {
  std::vector<int64_t> eos_ids;
  if (template_.has_value()) {
    eos_ids = template_->eos_token_ids;
  }
  programs_ = Programs(options_.data_files, options_.load, std::move(eos_ids));
  for (size_t i = 0; i < options_.programs.size(); ++i) {
    programs_.add(options_.programs[i]);
    RETURN_IF_FAILED(programs_.load(i));
  }
  for (const std::string& path : options_.on_demand) {
    programs_.add(path);
  }
  return Done{};
}

Result<Chat> Runner::chat() const {
  if (!template_.has_value()) {
    return Failure{options_.tokenizer.empty()
                       ? "messages need a --tokenizer with chat.json"
                       : options_.tokenizer +
                             "/chat.json: no such file, which messages need"};
  }
  return require_chat(*template_);
}

Result<std::vector<int64_t>> Runner::encode(const Prompt& prompt) const {
  if (!prompt.text.has_value()) {
    return prompt.tokens;
  }
  if (!tokenizer_.has_value()) {
    return Failure{"text needs a --tokenizer; give tokens"};
  }
  if (!options_.chat_template) {
    return tokenizer_->encode(*prompt.text);
  }
  ASSIGN_OR_RETURN(const Chat chat, this->chat());
  return encode_turn(chat.first, *prompt.text);
}

Result<std::vector<int64_t>> Runner::encode_turn(
    const ChatTurn& turn, const std::string& user) const {
  ASSIGN_OR_RETURN(const Chat chat, this->chat());
  return ptefoundry::encode_turn(*tokenizer_, turn, chat.trim_user, user);
}

Result<std::vector<int64_t>> Runner::encode_literal(
    const std::string& text) const {
  return tokenizer_->encode_verbatim(text, {0, text.size()});
}

std::string Runner::decode(const std::vector<int64_t>& ids) const {
  Utf8Stream stream;
  std::string text;
  for (const int64_t id : ids) {
    text += stream.feed(tokenizer_->bytes_of(id));
  }
  return text + stream.finish();
}

AnswerOptions Runner::answer_options() const {
  AnswerOptions answer;
  answer.max_new_tokens = options_.max_new_tokens;
  return answer;
}

Result<Answer> Runner::continue_history(LoadedProgram& program,
                                        Sampler& sampler,
                                        const std::vector<int64_t>& tokens,
                                        const AnswerOptions& options,
                                        const OnText& on_text) const {
  std::vector<int64_t> known = tokens;
  if (!known.empty()) {
    known.pop_back();
  }
  const int64_t kept = program.history.keep_common(known);
  return answer(program, program.history, sampler,
                {tokens.begin() + kept, tokens.end()}, options, on_text);
}

Result<Answer> Runner::answer(const LoadedProgram& program, History& history,
                              Sampler& sampler,
                              const std::vector<int64_t>& prompt_tokens,
                              const AnswerOptions& options,
                              const OnText& on_text) const {
  Answer answer;
  Utf8Stream stream;
  StopFilter stop(options.stop);
  const auto emit = [&](const std::string& text) {
    if (!text.empty()) {
      *answer.text += text;
      on_text(text);
    }
  };
  if (tokenizer_.has_value()) {
    answer.text = "";
  }
  GenerateOptions generate;
  generate.max_new_tokens = options.max_new_tokens;
  generate.eos_ids = program.eos_ids;
  generate.keep_logits = !options_.logits_directory.empty();
  const auto on_token = [&](int64_t id) -> std::optional<FinishReason> {
    if (tokenizer_.has_value()) {
      emit(stop.feed(stream.feed(tokenizer_->bytes_of(id))));
    }
    if (stop.found()) {
      return FinishReason::kStop;
    }
    if (options.cancelled && options.cancelled()) {
      return FinishReason::kCancelled;
    }
    return std::nullopt;
  };
  ASSIGN_OR_RETURN(answer.generation, history.generate(prompt_tokens, generate,
                                                       sampler, on_token));
  emit(stop.feed(stream.finish()) + stop.finish());
  answer.prompt_tokens = prompt_tokens;
  answer.after_generate = read_memory_use();
  return answer;
}

}  // namespace ptefoundry
