#include "conversation.h"

#include <chrono>
#include <cstdio>

namespace ptefoundry {

std::string describe(const Switch& made) {
  char text[160];
  std::snprintf(text, sizeof(text),
                "%lld tokens of the conversation fed in %.3f s, %lld known",
                static_cast<long long>(made.fed_tokens), made.feed_s,
                static_cast<long long>(made.kept_tokens));
  char load[64] = "";
  if (made.load_s.has_value()) {
    std::snprintf(load, sizeof(load), "loaded in %.3f s, ", *made.load_s);
  }
  return made.name + ": " + load + text;
}

Result<Answer> Conversation::answer(const std::string& user,
                                    const OnText& on_text) {
  ASSIGN_OR_RETURN(const Chat chat, runner_.chat());
  ASSIGN_OR_RETURN(
      const std::vector<int64_t> turn,
      runner_.encode_turn(tokens_.empty() ? chat.first : chat.next, user));
  std::vector<int64_t> tokens = tokens_;
  tokens.insert(tokens.end(), turn.begin(), turn.end());
  ASSIGN_OR_RETURN(Answer answer,
                   runner_.continue_history(*program_, sampler_, tokens,
                                            runner_.answer_options(), on_text));
  tokens_ = program_->history.tokens();
  return answer;
}

Result<Switch> Conversation::switch_to(const std::string& name, bool keep) {
  Switch made = {name, std::nullopt, 0, 0, 0};
  const bool resident = runner_.programs().is_loaded(name);
  ASSIGN_OR_RETURN(LoadedProgram* const program, runner_.programs().get(name));
  if (!resident) {
    made.load_s = program->load_s;
  }
  if (!keep) {
    clear();
  }
  const auto start = std::chrono::steady_clock::now();
  made.kept_tokens = program->history.keep_common(tokens_);
  const std::vector<int64_t> rest(tokens_.begin() + made.kept_tokens,
                                  tokens_.end());
  RETURN_IF_FAILED(program->history.append(rest));
  made.fed_tokens = static_cast<int64_t>(rest.size());
  made.feed_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  name_ = name;
  program_ = program;
  return made;
}

void Conversation::clear() {
  tokens_.clear();
  sampler_ = Sampler(sampling_);
}

}  // namespace ptefoundry
