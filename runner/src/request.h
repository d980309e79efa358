// Requests of the line protocol; docs/serve-stdio.md lists their fields.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "prompts.h"
#include "result.h"
#include "runner.h"

namespace ptefoundry {

enum class Op { kGenerate, kLoad, kUnload, kList, kStats, kCancel, kQuit };

// "generate", "load" and so on.
const char* to_string(Op op);

struct Message {
  bool user;  // else the assistant
  std::string content;
};

struct Request {
  Op op = Op::kGenerate;
  std::string adapter;  // empty: the first program
  // Of kGenerate, one of the two:
  std::optional<Prompt> prompt;
  std::vector<Message> messages;
  AnswerOptions answer;
  SamplingOptions sampling;
  bool reuse = true;  // what the program knows of the same beginning
};

struct ParsedLine {
  nlohmann::json id;  // null if there is none or it cannot be read
  Result<Request> request;
};

// What a request does not say is as in `options`.
ParsedLine parse_request(const std::string& line, const Options& options);

}  // namespace ptefoundry
