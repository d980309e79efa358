#include "chat_loop.h"

#include <string>

#include "conversation.h"
#include "report.h"

namespace ptefoundry {
namespace {

constexpr char kAdapter[] = "/adapter ";
constexpr char kClear[] = " --clear";

bool starts_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() &&
         text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Follows the lines of a chat.
class ChatLoop {
 public:
  ChatLoop(Runner& runner, const Options& options, std::ostream& out,
           std::ostream& notes)
      : runner_(runner),
        quiet_(options.quiet),
        out_(out),
        notes_(notes),
        conversation_(runner, runner.programs().slots().front(),
                      options.sampling) {}

  // What a person is asked with.
  std::string prompt() const {
    if (quiet_) {
      return "";
    }
    const bool choice = runner_.programs().slots().size() > 1;
    return choice ? conversation_.name() + "> " : "> ";
  }

  Status follow(const std::string& line) {
    if (line == "/reset" || line == "/clear") {
      conversation_.clear();
      return Done{};
    }
    if (line == "/adapters") {
      list();
      return Done{};
    }
    if (starts_with(line, kAdapter)) {
      return switch_to(line.substr(sizeof(kAdapter) - 1));
    }
    return line.empty() ? Status(Done{}) : answer(line);
  }

 private:
  void list() {
    for (const ProgramSlot& slot : runner_.programs().slots()) {
      notes_ << (slot.name == conversation_.name() ? "* " : "  ") << slot.name
             << (slot.loaded == nullptr ? " (not loaded)" : "") << "\n";
    }
  }

  Status switch_to(std::string name) {
    const bool clear = ends_with(name, kClear);
    if (clear) {
      name.resize(name.size() - (sizeof(kClear) - 1));
    }
    ASSIGN_OR_RETURN(const Switch made, conversation_.switch_to(name, !clear));
    if (!quiet_) {
      notes_ << describe(made) << "\n";
    }
    return Done{};
  }

  Status answer(const std::string& user) {
    ASSIGN_OR_RETURN(const Answer answer,
                     conversation_.answer(user, [&](const std::string& text) {
                       out_ << text << std::flush;
                     }));
    out_ << std::endl;
    if (!quiet_) {
      notes_ << describe(answer) << "\n";
    }
    return Done{};
  }

  Runner& runner_;
  const bool quiet_;
  std::ostream& out_;
  std::ostream& notes_;
  Conversation conversation_;
};

}  // namespace

Status run_chat(Runner& runner, const Options& options, std::istream& in,
                std::ostream& out, std::ostream& notes) {
  ChatLoop loop(runner, options, out, notes);
  int refused = 0;
  std::string line;
  while (notes << loop.prompt() << std::flush, std::getline(in, line)) {
    if (line == "/exit") {
      break;
    }
    const Status followed = loop.follow(line);
    if (!followed.ok()) {
      ++refused;
      notes << followed.failure().message << "; /clear starts anew\n";
    }
  }
  if (refused > 0) {
    return Failure{std::to_string(refused) +
                   (refused == 1 ? " line was" : " lines were") + " refused"};
  }
  return Done{};
}

}  // namespace ptefoundry
