// Command line of the runner: parses flags, calls the library, prints.

#include <csignal>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "chat_loop.h"
#include "error_log.h"
#include "files.h"
#include "options.h"
#include "report.h"
#include "runner.h"
#include "serve.h"

namespace {

using nlohmann::ordered_json;
using namespace ptefoundry;

constexpr int kFailed = 1;
constexpr int kWrongCommandLine = 2;

// A path need not be valid UTF-8, but a JSON document has to be.
std::string to_text(const ordered_json& document, int indent) {
  return document.dump(indent, ' ', /*ensure_ascii=*/false,
                       ordered_json::error_handler_t::replace);
}

Status tokenize(const Runner& runner, const Options& options) {
  ordered_json results = ordered_json::array();
  for (const Prompt& prompt : options.prompts) {
    if (!prompt.text.has_value()) {
      results.push_back(runner.decode(prompt.tokens));
      continue;
    }
    ASSIGN_OR_RETURN(const std::vector<int64_t> ids, runner.encode(prompt));
    results.push_back(ids);
  }
  std::cout << to_text(results, -1) << "\n";
  return Done{};
}

void print_header(const LoadedProgram& program, const Prompt& prompt) {
  std::cout << "=== " << program.program->info().name;
  if (prompt.text.has_value()) {
    std::cout << ": " << *prompt.text;
  }
  std::cout << "\n" << std::flush;
}

Status write_logits(const std::string& directory, size_t program, size_t prompt,
                    const std::vector<float>& logits) {
  const std::string name =
      std::to_string(program) + "-" + std::to_string(prompt) + ".f32";
  return write_file(directory + "/" + name, logits.data(),
                    logits.size() * sizeof(float));
}

Status generate(Runner& runner, const Options& options) {
  const bool streams = !options.json;
  const bool notes = streams && !options.quiet;
  if (!options.logits_directory.empty()) {
    RETURN_IF_FAILED(make_directory(options.logits_directory));
  }
  std::vector<std::vector<int64_t>> prompt_tokens;
  for (const Prompt& prompt : options.prompts) {
    ASSIGN_OR_RETURN(std::vector<int64_t> ids, runner.encode(prompt));
    prompt_tokens.push_back(std::move(ids));
  }
  std::vector<ordered_json> reports;
  const auto& slots = runner.programs().slots();
  for (size_t p = 0; p < slots.size(); ++p) {
    const LoadedProgram& program = *slots[p].loaded;
    for (size_t q = 0; q < options.prompts.size(); ++q) {
      const Prompt& prompt = options.prompts[q];
      if (notes) {
        print_header(program, prompt);
      }
      History history(*program.program);
      Sampler sampler(options.sampling);
      ASSIGN_OR_RETURN(
          const Answer answer,
          runner.answer(program, history, sampler, prompt_tokens[q],
                        runner.answer_options(), [&](const std::string& text) {
                          if (streams) {
                            std::cout << text << std::flush;
                          }
                        }));
      if (streams) {
        std::cout << std::endl;
      }
      if (notes) {
        std::cerr << describe(answer) << "\n";
      }
      if (!options.logits_directory.empty()) {
        RETURN_IF_FAILED(write_logits(options.logits_directory, p, q,
                                      answer.generation.logits));
      }
      reports.push_back(answer_report(program, prompt, answer));
    }
  }
  if (options.json) {
    std::cout << to_text(run_report(options, runner.packed_cache(),
                                    std::move(reports)),
                         2)
              << "\n";
  }
  return Done{};
}

Status run(const Options& options) {
  const auto print_note = [&](const std::string& note) {
    if (!options.quiet) {
      std::cerr << note << "\n";
    }
  };
  ASSIGN_OR_RETURN(Runner runner, Runner::load(options, print_note));
  if (!options.json && !options.quiet) {
    if (runner.packed_cache().file.has_value()) {
      std::cerr << describe(runner.packed_cache()) << "\n";
    }
    for (const ProgramSlot& slot : runner.programs().slots()) {
      if (slot.loaded != nullptr) {
        std::cerr << describe(*slot.loaded) << "\n";
      }
    }
  }
  switch (options.mode) {
    case Mode::kChat:
      return run_chat(runner, options, std::cin, std::cout, std::cerr);
    case Mode::kServe:
      std::signal(SIGPIPE, SIG_IGN);  // who stops reading ends it in order
      return serve(runner, options, std::cin, std::cout);
    case Mode::kTokenize:
      return tokenize(runner, options);
    default:
      return generate(runner, options);
  }
}

// Nothing of ours throws, but the standard library does when memory runs out.
Status run_guarded(const Options& options) {
  try {
    return run(options);
  } catch (const std::exception& error) {
    return Failure{std::string("stopped by ") + error.what()};
  }
}

int report_failure(const Failure& failure, int status) {
  std::cerr << "ptefoundry-runner: error: " << failure.message << "\n";
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  const auto options =
      parse_options(std::vector<std::string>(argv + 1, argv + argc));
  if (!options.ok()) {
    return report_failure({options.failure().message + "; see --help"},
                          kWrongCommandLine);
  }
  if (options.value().mode == Mode::kHelp) {
    std::cout << usage();
    return 0;
  }
  if (options.value().mode == Mode::kVersion) {
    std::cout << version() << "\n";
    return 0;
  }
  capture_runtime_log(options.value().verbose);
  const Status outcome = run_guarded(options.value());
  std::cout.flush();
  if (!outcome.ok()) {
    return report_failure(outcome.failure(), kFailed);
  }
  if (!std::cout) {
    return report_failure({"cannot write to standard output"}, kFailed);
  }
  return 0;
}
