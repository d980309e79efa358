#include "chat_loop.h"

#include <string>

#include "conversation.h"
#include "report.h"

namespace ptefoundry {
namespace {

constexpr char kClear[] = " --clear";
constexpr char kBlanks[] = " \t\r";

std::string trim(const std::string& text) {
  const size_t start = text.find_first_not_of(kBlanks);
  return start == std::string::npos
             ? ""
             : text.substr(start, text.find_last_not_of(kBlanks) + 1 - start);
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

  // False once the chat is to end.
  Result<bool> follow(const std::string& line) {
    if (line.empty() || line.front() != '/') {
      RETURN_IF_FAILED(line.empty() ? Status(Done{}) : answer(line));
      return true;
    }
    if (line.compare(0, 2, "//") == 0) {
      RETURN_IF_FAILED(answer(line.substr(1)));
      return true;
    }
    return obey(trim(line));
  }

 private:
  Result<bool> obey(const std::string& line) {
    const std::string command = line.substr(0, line.find_first_of(kBlanks));
    const std::string rest = trim(line.substr(command.size()));
    if (command == "/adapter" && !rest.empty()) {
      RETURN_IF_FAILED(switch_to(rest));
    } else if (line == "/adapter" || line == "/adapters") {
      list();
    } else if (line == "/clear" || line == "/reset") {
      conversation_.clear();
    } else if (line != "/exit") {
      return Failure{
          "there is no command '" + line +
          "'; there are /adapter NAME [--clear], /adapters, /clear and /exit, "
          "and // sends a message that begins with a slash"};
    }
    return line != "/exit";
  }

  void list() {
    for (const ProgramSlot& slot : runner_.programs().slots()) {
      notes_ << (slot.name == conversation_.name() ? "* " : "  ") << slot.name
             << (slot.loaded == nullptr ? " (not loaded)" : "") << "\n";
    }
  }

  Status switch_to(std::string name) {
    const bool clear = ends_with(name, kClear);
    if (clear) {
      name = trim(name.substr(0, name.size() - (sizeof(kClear) - 1)));
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
    const Result<bool> followed = loop.follow(line);
    if (!followed.ok()) {
      ++refused;
      notes << followed.failure().message << "; /clear starts anew\n";
    } else if (!followed.value()) {
      break;
    }
  }
  if (refused > 0) {
    return Failure{std::to_string(refused) +
                   (refused == 1 ? " line was" : " lines were") + " refused"};
  }
  return Done{};
}

}  // namespace ptefoundry
