#include "options.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "flags.h"

namespace ptefoundry {
namespace {

const Flag* find_flag(const std::string& name) {
  for (const Flag& flag : flags()) {
    if (name == flag.name) {
      return &flag;
    }
  }
  return nullptr;
}

Status check_generate(const Options& options) {
  if (options.programs.empty()) {
    return Failure{"no --program given"};
  }
  if (!options.on_demand.empty()) {
    return Failure{"--on-demand needs --chat or --serve-stdio"};
  }
  if (options.prompts.empty()) {
    return Failure{
        "no --prompt, --prompt-file, --tokens, --chat or --serve-stdio given"};
  }
  return Done{};
}

// Where programs are asked for by name.
Status check_dialogue(const Options& options) {
  const bool chat = options.mode == Mode::kChat;
  const std::string mode = chat ? "--chat" : "--serve-stdio";
  if (!options.prompts.empty() || options.json ||
      !options.logits_directory.empty()) {
    return Failure{mode + " takes no prompt, no --json and no --logits-out"};
  }
  if (options.programs.empty() && (chat || options.on_demand.empty())) {
    return Failure{"no --program given"};
  }
  std::set<std::string> names;
  for (const auto* paths : {&options.programs, &options.on_demand}) {
    for (const std::string& path : *paths) {
      const std::string name = std::filesystem::path(path).stem().string();
      if (!names.insert(name).second) {
        return Failure{path + ": " + mode + " has another program '" + name +
                       "'; rename one of the files"};
      }
    }
  }
  return Done{};
}

Status check_mode(const Options& options) {
  switch (options.mode) {
    case Mode::kGenerate:
      return check_generate(options);
    case Mode::kChat:
    case Mode::kServe:
      return check_dialogue(options);
    default:
      return Done{};
  }
}

Status check_tokenizer(const Options& options) {
  bool needed = options.mode == Mode::kChat ||
                options.mode == Mode::kTokenize || options.chat_template;
  for (const Prompt& prompt : options.prompts) {
    needed = needed || prompt.text.has_value();
  }
  if (needed && options.tokenizer.empty()) {
    return Failure{"no --tokenizer given, which text needs"};
  }
  return Done{};
}

}  // namespace

Result<Options> parse_options(const std::vector<std::string>& arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string name = arguments[i];
    std::optional<std::string> value;
    const size_t equals = name.find('=');
    if (equals != std::string::npos) {
      value = name.substr(equals + 1);
      name.resize(equals);
    }
    const Flag* flag = find_flag(name);
    if (flag == nullptr) {
      return Failure{"unknown argument '" + arguments[i] + "'"};
    }
    if (flag->value == nullptr && value.has_value()) {
      return Failure{name + " takes no value"};
    }
    if (flag->value != nullptr && !value.has_value()) {
      if (++i == arguments.size()) {
        return Failure{name + " needs a value: " + flag->value};
      }
      value = arguments[i];
    }
    const Status applied = flag->apply(options, value.value_or(""));
    if (!applied.ok()) {
      return Failure{name + ": " + applied.failure().message};
    }
    if (options.mode == Mode::kHelp || options.mode == Mode::kVersion) {
      return options;
    }
  }
  RETURN_IF_FAILED(check_mode(options));
  RETURN_IF_FAILED(check_tokenizer(options));
  return options;
}

std::string usage() {
  std::string text =
      "usage: ptefoundry-runner --program FILE [--program FILE ...]\n"
      "         [--data FILE] --tokenizer DIR --prompt TEXT [options]\n\n"
      "Runs any number of ExecuTorch programs over one foundation in one\n"
      "process and lets each of them answer each prompt.\n\n";
  constexpr size_t kColumn = 26;
  for (const Flag& flag : flags()) {
    std::string line = std::string("  ") + flag.name;
    if (flag.value != nullptr) {
      line += std::string(" ") + flag.value;
    }
    line.resize(std::max(line.size() + 1, kColumn), ' ');
    text += line + flag.help + "\n";
  }
  return text +
         "\nExit status: 0 all answered, 1 a failure, 2 a wrong command "
         "line.\n";
}

}  // namespace ptefoundry
