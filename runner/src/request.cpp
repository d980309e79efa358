#include "request.h"

#include <algorithm>
#include <array>
#include <set>

namespace ptefoundry {
namespace {

using nlohmann::json;

constexpr std::array<const char*, 7> kOps = {
    "generate", "load", "unload", "list", "stats", "cancel", "quit"};
constexpr size_t kMaxStops = 16;
constexpr size_t kMaxNesting = 8;

// The fields that a request of a kind may have.
const std::set<std::string>& known_fields(Op op) {
  static const std::set<std::string> kOfGenerate = {
      "op",     "id",       "adapter",        "prompt",
      "tokens", "messages", "max_new_tokens", "temperature",
      "top_p",  "seed",     "stop",           "reuse"};
  static const std::set<std::string> kOfPrograms = {"op", "id", "adapter"};
  static const std::set<std::string> kOfOthers = {"op", "id"};
  switch (op) {
    case Op::kGenerate:
      return kOfGenerate;
    case Op::kLoad:
    case Op::kUnload:
      return kOfPrograms;
    default:
      return kOfOthers;
  }
}

Failure wrong(const std::string& field, const std::string& expected,
              const json& found) {
  std::string text = found.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 60) {
    text = text.substr(0, 60) + "...";
  }
  return Failure{field + ": expected " + expected + ", found " + text};
}

// Reads fields of one document; each leaves alone what is not there.
class Fields {
 public:
  explicit Fields(const json& document) : document_(document) {}

  Status text(const char* name, std::string& target) const {
    const json* const value = find(name);
    if (value != nullptr && !value->is_string()) {
      return wrong(name, "a string", *value);
    }
    if (value != nullptr) {
      target = value->get<std::string>();
    }
    return Done{};
  }

  Status flag(const char* name, bool& target) const {
    const json* const value = find(name);
    if (value != nullptr && !value->is_boolean()) {
      return wrong(name, "true or false", *value);
    }
    if (value != nullptr) {
      target = value->get<bool>();
    }
    return Done{};
  }

  template <typename Number>
  Status integer(const char* name, Number most, Number& target) const {
    const json* const value = find(name);
    if (value == nullptr) {
      return Done{};
    }
    if (!value->is_number_unsigned() ||
        value->get<uint64_t>() > static_cast<uint64_t>(most)) {
      return wrong(name, "an integer from 0 to " + std::to_string(most),
                   *value);
    }
    target = value->get<Number>();
    return Done{};
  }

  Status number(const char* name, double most, double& target) const {
    const json* const value = find(name);
    if (value == nullptr) {
      return Done{};
    }
    if (!value->is_number() || !(value->get<double>() >= 0) ||
        !(value->get<double>() <= most)) {
      return wrong(name, "a number from 0 to " + json(most).dump(), *value);
    }
    target = value->get<double>();
    return Done{};
  }

  // Null if there is none.
  const json* find(const char* name) const {
    const auto field = document_.find(name);
    return field == document_.end() ? nullptr : &*field;
  }

 private:
  const json& document_;
};

Result<Op> read_op(const Fields& fields) {
  std::string name = kOps.front();
  RETURN_IF_FAILED(fields.text("op", name));
  const auto found = std::find(kOps.begin(), kOps.end(), name);
  if (found == kOps.end()) {
    return wrong("op", "generate, load, unload, list, stats, cancel or quit",
                 name);
  }
  return static_cast<Op>(found - kOps.begin());
}

Status check_fields(const json& document, Op op) {
  const std::set<std::string>& known = known_fields(op);
  for (const auto& field : document.items()) {
    if (known.count(field.key()) == 0) {
      std::string names;
      for (const std::string& name : known) {
        names += (names.empty() ? "" : ", ") + name;
      }
      return Failure{"unknown field '" + field.key() + "' of op " +
                     to_string(op) + "; it takes " + names};
    }
  }
  return Done{};
}

Result<std::vector<int64_t>> read_tokens(const json& list) {
  constexpr char kExpected[] = "a list of token ids";
  std::vector<int64_t> tokens;
  if (!list.is_array()) {
    return wrong("tokens", kExpected, list);
  }
  for (const json& id : list) {
    if (!id.is_number_unsigned() ||
        id.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
      return wrong("tokens", kExpected, id);
    }
    tokens.push_back(id.get<int64_t>());
  }
  return tokens;
}

Result<std::vector<Message>> read_messages(const json& list) {
  std::vector<Message> messages;
  if (!list.is_array() || list.size() % 2 == 0) {
    return wrong("messages",
                 "a list of turns by user and assistant, the user first and "
                 "last",
                 list);
  }
  for (const json& turn : list) {
    const bool user = messages.size() % 2 == 0;
    const std::string role = user ? "user" : "assistant";
    if (!turn.is_object() || turn.size() != 2 ||
        turn.value("role", json()) != role ||
        !turn.value("content", json()).is_string()) {
      return wrong("messages[" + std::to_string(messages.size()) + "]",
                   "{\"role\": \"" + role + "\", \"content\": text}", turn);
    }
    messages.push_back({user, turn.at("content").get<std::string>()});
  }
  return messages;
}

Status read_prompt(const Fields& fields, Request& request) {
  const json* const prompt = fields.find("prompt");
  const json* const tokens = fields.find("tokens");
  const json* const messages = fields.find("messages");
  if ((prompt != nullptr) + (tokens != nullptr) + (messages != nullptr) != 1) {
    return Failure{"expected one of prompt, tokens and messages"};
  }
  if (messages != nullptr) {
    ASSIGN_OR_RETURN(request.messages, read_messages(*messages));
    return Done{};
  }
  request.prompt = Prompt{};
  if (tokens != nullptr) {
    ASSIGN_OR_RETURN(request.prompt->tokens, read_tokens(*tokens));
    return Done{};
  }
  request.prompt->text = "";
  return fields.text("prompt", *request.prompt->text);
}

Status read_stop(const Fields& fields, std::vector<std::string>& stops) {
  const json* const list = fields.find("stop");
  if (list == nullptr) {
    return Done{};
  }
  if (!list->is_array() || list->size() > kMaxStops) {
    return wrong("stop", "a list of at most 16 texts", *list);
  }
  for (const json& stop : *list) {
    if (!stop.is_string() || stop.get<std::string>().empty()) {
      return wrong("stop", "texts that are not empty", stop);
    }
    stops.push_back(stop.get<std::string>());
  }
  return Done{};
}

// How deep lists and objects are nested. Documents are copied and printed
// recursively, which a stack ends somewhere.
size_t nesting(const std::string& text) {
  size_t depth = 0, deepest = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\') {
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && (c == '[' || c == '{')) {
      deepest = std::max(deepest, ++depth);
    } else if (!quoted && (c == ']' || c == '}')) {
      depth -= depth > 0 ? 1 : 0;
    }
  }
  return deepest;
}

Result<json> parse_document(const std::string& line) {
  constexpr char kExpected[] = "expected a JSON object on the line, found ";
  if (nesting(line) > kMaxNesting) {
    return Failure{std::string(kExpected) + "one that is nested too deeply"};
  }
  try {
    json document = json::parse(line);
    if (document.is_object()) {
      return document;
    }
    return Failure{std::string(kExpected) + document.type_name()};
  } catch (const json::exception& error) {
    return Failure{kExpected + std::string(error.what())};
  }
}

Result<Request> read_request(const json& document, const Options& options) {
  const Fields fields(document);
  Request request;
  request.answer.max_new_tokens = options.max_new_tokens;
  request.sampling = options.sampling;
  ASSIGN_OR_RETURN(request.op, read_op(fields));
  RETURN_IF_FAILED(check_fields(document, request.op));
  RETURN_IF_FAILED(fields.text("adapter", request.adapter));
  if (request.op == Op::kCancel && fields.find("id") == nullptr) {
    return Failure{"expected the id of the request to cancel"};
  }
  if (request.op != Op::kGenerate) {
    return request;
  }
  RETURN_IF_FAILED(read_prompt(fields, request));
  RETURN_IF_FAILED(fields.integer("max_new_tokens", int64_t{1} << 24,
                                  request.answer.max_new_tokens));
  RETURN_IF_FAILED(
      fields.number("temperature", 100, request.sampling.temperature));
  RETURN_IF_FAILED(fields.number("top_p", 1, request.sampling.top_p));
  RETURN_IF_FAILED(fields.integer("seed", UINT64_MAX, request.sampling.seed));
  RETURN_IF_FAILED(read_stop(fields, request.answer.stop));
  RETURN_IF_FAILED(fields.flag("reuse", request.reuse));
  return request;
}

}  // namespace

const char* to_string(Op op) { return kOps[static_cast<size_t>(op)]; }

ParsedLine parse_request(const std::string& line, const Options& options) {
  auto document = parse_document(line);
  if (!document.ok()) {
    return {json(), document.failure()};
  }
  const json id = document.value().value("id", json());
  if (!id.is_null() && !id.is_string() && !id.is_number()) {
    return {json(), wrong("id", "a string or a number", id)};
  }
  return {id, read_request(document.value(), options)};
}

}  // namespace ptefoundry
