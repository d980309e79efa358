// A conversation that may move from one program to another.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runner.h"

namespace ptefoundry {

// What it took to switch.
struct Switch {
  std::string name;
  std::optional<double> load_s;  // if the program was not in memory
  int64_t kept_tokens;           // of the conversation, that it knew already
  int64_t fed_tokens;            // that it had to be told
  double feed_s;
};

// One line, without end of line.
std::string describe(const Switch& made);

class Conversation {
 public:
  // Begins with a program that is in memory.
  Conversation(Runner& runner, const ProgramSlot& program,
               const SamplingOptions& sampling)
      : runner_(runner),
        sampling_(sampling),
        sampler_(sampling),
        name_(program.name),
        program_(program.loaded.get()) {}

  const std::string& name() const { return name_; }

  Result<Answer> answer(const std::string& user, const OnText& on_text);

  // Goes on with another program, with a new conversation unless it is to keep
  // this one. Without one of that name, or if the
  // conversation does not fit into its context, nothing changes.
  Result<Switch> switch_to(const std::string& name, bool keep);

  void clear();

 private:
  Runner& runner_;
  SamplingOptions sampling_;
  Sampler sampler_;
  std::string name_;
  LoadedProgram* program_;
  std::vector<int64_t> tokens_;  // of all turns and answers
};

}  // namespace ptefoundry
