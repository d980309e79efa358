#include "runner.h"

#include <chrono>
#include <filesystem>

#include "unicode.h"

namespace ptefoundry {

Result<Runner> Runner::load(const Options& options, const OnNote& on_note) {
  Runner runner(options);
  RETURN_IF_FAILED(runner.load_text());
  RETURN_IF_FAILED(runner.find_packed_weights(on_note));
  if (options.threads.has_value()) {
    RETURN_IF_FAILED(set_thread_count(*options.threads));
  }
  for (const std::string& path : options.programs) {
    RETURN_IF_FAILED(runner.load_program(path));
  }
  return runner;
}

Status Runner::load_text() {
  const std::string& directory = options_.tokenizer;
  if (directory.empty()) {
    return Done{};
  }
  ASSIGN_OR_RETURN(tokenizer_, Tokenizer::load(directory));
  // The file also names end-of-sequence tokens, so it is read if there.
  const bool wants_chat =
      options_.chat_template || options_.mode == Mode::kChat;
  std::error_code error;
  if (!wants_chat &&
      !std::filesystem::exists(directory + "/chat.json", error)) {
    return Done{};
  }
  ASSIGN_OR_RETURN(ChatTemplate file, read_chat_template(directory));
  template_eos_ids_ = std::move(file.eos_token_ids);
  if (wants_chat) {
    ASSIGN_OR_RETURN(chat_, require_chat(file));
  }
  return Done{};
}

Status Runner::find_packed_weights(const OnNote& on_note) {
  if (options_.programs.empty()) {
    return Done{};
  }
  // All programs over a foundation pack its weights alike.
  const auto pack = [this](const std::string& path) -> Status {
    LoadOptions load = options_.load;
    load.packed_file = path;
    RETURN_IF_FAILED(
        Program::load(options_.programs.front(), options_.data_files, load));
    return Done{};
  };
  ASSIGN_OR_RETURN(packed_cache_,
                   open_packed_cache(options_.packed_cache, options_.data_files,
                                     pack, on_note));
  if (packed_cache_.file.has_value()) {
    options_.load.packed_file = packed_cache_.file->path;
  }
  return Done{};
}

Status Runner::load_program(const std::string& path) {
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(auto program,
                   Program::load(path, options_.data_files, options_.load));
  const std::chrono::duration<double> elapsed =
      std::chrono::steady_clock::now() - start;
  std::vector<int64_t> eos_ids = program->info().eos_ids;
  eos_ids.insert(eos_ids.end(), template_eos_ids_.begin(),
                 template_eos_ids_.end());
  programs_.push_back({std::move(program), std::move(eos_ids), elapsed.count(),
                       read_memory_use()});
  return Done{};
}

Result<std::vector<int64_t>> Runner::encode(const Prompt& prompt) const {
  if (!prompt.text.has_value()) {
    return prompt.tokens;
  }
  return options_.chat_template ? encode_turn(chat_->first, *prompt.text)
                                : tokenizer_->encode(*prompt.text);
}

Result<std::vector<int64_t>> Runner::encode_turn(
    const ChatTurn& turn, const std::string& user) const {
  return ptefoundry::encode_turn(*tokenizer_, turn, chat_->trim_user, user);
}

std::string Runner::decode(const std::vector<int64_t>& ids) const {
  Utf8Stream stream;
  std::string text;
  for (const int64_t id : ids) {
    text += stream.feed(tokenizer_->bytes_of(id));
  }
  return text + stream.finish();
}

Result<Answer> Runner::answer(const LoadedProgram& program,
                              const std::vector<int64_t>& prompt_tokens,
                              const OnText& on_text) const {
  History history(*program.program);
  Sampler sampler(options_.sampling);
  return answer(program, history, sampler, prompt_tokens, on_text);
}

Result<Answer> Runner::answer(const LoadedProgram& program, History& history,
                              Sampler& sampler,
                              const std::vector<int64_t>& prompt_tokens,
                              const OnText& on_text) const {
  Answer answer;
  Utf8Stream stream;
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
  generate.max_new_tokens = options_.max_new_tokens;
  generate.eos_ids = program.eos_ids;
  generate.keep_logits = !options_.logits_directory.empty();
  ASSIGN_OR_RETURN(
      answer.generation,
      history.generate(prompt_tokens, generate, sampler, [&](int64_t id) {
        if (tokenizer_.has_value()) {
          emit(stream.feed(tokenizer_->bytes_of(id)));
        }
      }));
  emit(stream.finish());
  answer.prompt_tokens = prompt_tokens;
  answer.after_generate = read_memory_use();
  return answer;
}

}  // namespace ptefoundry
