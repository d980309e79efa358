#include "chat_loop.h"

#include <string>

#include "report.h"

namespace ptefoundry {
namespace {

class Conversation {
 public:
  Conversation(const Runner& runner, const SamplingOptions& sampling)
      : runner_(runner),
        program_(runner.programs().front()),
        history_(*program_.program),
        sampler_(sampling) {}

  Result<Answer> answer(const std::string& user, const OnText& on_text) {
    const Chat& chat = *runner_.chat();
    ASSIGN_OR_RETURN(
        const std::vector<int64_t> tokens,
        runner_.encode_turn(started_ ? chat.next : chat.first, user));
    ASSIGN_OR_RETURN(Answer answer, runner_.answer(program_, history_, sampler_,
                                                   tokens, on_text));
    started_ = true;
    return answer;
  }

 private:
  const Runner& runner_;
  const LoadedProgram& program_;
  History history_;
  Sampler sampler_;
  bool started_ = false;
};

}  // namespace

Status run_chat(const Runner& runner, const Options& options, std::istream& in,
                std::ostream& out, std::ostream& notes) {
  const std::string prompt = options.quiet ? "" : "> ";
  auto conversation = std::make_unique<Conversation>(runner, options.sampling);
  int refused = 0;
  std::string line;
  while (notes << prompt << std::flush, std::getline(in, line)) {
    if (line == "/exit") {
      break;
    }
    if (line == "/reset") {
      conversation = std::make_unique<Conversation>(runner, options.sampling);
      continue;
    }
    if (line.empty()) {
      continue;
    }
    const auto answer = conversation->answer(
        line, [&](const std::string& text) { out << text << std::flush; });
    if (!answer.ok()) {
      ++refused;
      notes << answer.failure().message << "; /reset starts anew\n";
      continue;
    }
    out << std::endl;
    if (!options.quiet) {
      notes << describe(answer.value()) << "\n";
    }
  }
  if (refused > 0) {
    return Failure{std::to_string(refused) +
                   (refused == 1 ? " turn was" : " turns were") +
                   " not answered"};
  }
  return Done{};
}

}  // namespace ptefoundry
