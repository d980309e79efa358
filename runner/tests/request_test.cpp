#include "request.h"

#include <string>

#include "check.h"

namespace {

using namespace ptefoundry;
using nlohmann::json;

Request parsed(const std::string& line, const Options& options = {}) {
  ParsedLine result = parse_request(line, options);
  CHECK_EQUAL(result.request.ok() ? "" : result.request.failure().message,
              std::string());
  return result.request.ok() ? result.request.value() : Request();
}

std::string failure(const std::string& line) {
  const ParsedLine result = parse_request(line, {});
  CHECK(!result.request.ok());
  return result.request.ok() ? "" : result.request.failure().message;
}

TEST(a_request_has_what_it_says_and_defaults) {
  Options options;
  options.max_new_tokens = 9;
  options.sampling = {0.5, 0.8, 3};
  const Request plain = parsed(R"({"prompt": "hi"})", options);
  CHECK(plain.op == Op::kGenerate && plain.reuse);
  CHECK_EQUAL(*plain.prompt->text, std::string("hi"));
  CHECK_EQUAL(plain.answer.max_new_tokens, 9);
  CHECK_EQUAL(plain.sampling.seed, 3u);
  const Request full = parsed(
      R"({"id": 4, "adapter": "red", "tokens": [1, 2], "max_new_tokens": 5,
          "temperature": 1, "top_p": 0.25, "seed": 18446744073709551615,
          "stop": ["a", "b"], "reuse": false})",
      options);
  CHECK_EQUAL(full.adapter, std::string("red"));
  CHECK_EQUAL(full.prompt->tokens.size(), 2u);
  CHECK(!full.prompt->text.has_value() && !full.reuse);
  CHECK_EQUAL(full.answer.max_new_tokens, 5);
  CHECK_EQUAL(full.sampling.temperature, 1.0);
  CHECK_EQUAL(full.sampling.top_p, 0.25);
  CHECK_EQUAL(full.sampling.seed, UINT64_MAX);
  CHECK_EQUAL(full.answer.stop.size(), 2u);
}

TEST(messages_take_turns) {
  const Request request = parsed(
      R"({"messages": [{"role": "user", "content": "a"},
                       {"role": "assistant", "content": "b"},
                       {"role": "user", "content": "c"}]})");
  CHECK_EQUAL(request.messages.size(), 3u);
  CHECK(request.messages[0].user && !request.messages[1].user);
  CHECK_EQUAL(request.messages[2].content, std::string("c"));
}

TEST(ids_come_back_as_they_were) {
  CHECK(parse_request(R"({"id": "x", "op": "list"})", {}).id == json("x"));
  CHECK(parse_request(R"({"id": 1.5, "op": "fly"})", {}).id == json(1.5));
  CHECK(parse_request(R"({"op": "list"})", {}).id.is_null());
  CHECK(parse_request(R"({"id": [1]})", {}).id.is_null());
}

TEST(every_op_is_read) {
  for (const char* op : {"load", "unload", "list", "stats", "quit"}) {
    CHECK_EQUAL(std::string(to_string(
                    parsed(R"({"op": ")" + std::string(op) + R"("})").op)),
                std::string(op));
  }
  CHECK(parsed(R"({"op": "cancel", "id": 1})").op == Op::kCancel);
}

TEST(what_is_wrong_is_named) {
  CHECK_CONTAINS(failure(""), "expected a JSON object on the line");
  CHECK_CONTAINS(failure("{\"prompt\": \"\xff\"}"), "expected a JSON object");
  CHECK_CONTAINS(failure("[1]"), "found array");
  CHECK_CONTAINS(failure("3"), "found number");
  CHECK_CONTAINS(failure(R"({"id": {}})"), "id: expected a string");
  CHECK_CONTAINS(failure(R"({"op": "fly"})"), "op: expected generate");
  CHECK_CONTAINS(failure(R"({"op": 1})"), "op: expected a string, found 1");
  CHECK_CONTAINS(failure(R"({"op": "list", "adapter": "a"})"),
                 "unknown field 'adapter' of op list");
  CHECK_CONTAINS(failure(R"({"prompt": "a", "temprature": 1})"),
                 "unknown field 'temprature'");
  CHECK_CONTAINS(failure(R"({"op": "cancel"})"), "the id of the request");
  CHECK_CONTAINS(failure("{}"), "expected one of prompt, tokens and messages");
  CHECK_CONTAINS(failure(R"({"prompt": "a", "tokens": [1]})"), "one of prompt");
  CHECK_CONTAINS(failure(R"({"prompt": 1})"), "prompt: expected a string");
  CHECK_CONTAINS(failure(R"({"tokens": "1"})"), "tokens: expected a list");
  for (const char* id : {"-1", "1.5", "\"1\"", "9223372036854775808"}) {
    CHECK_CONTAINS(failure("{\"tokens\": [" + std::string(id) + "]}"),
                   "tokens: expected a list");
  }
}

TEST(options_out_of_range_are_named) {
  const auto with = [](const std::string& option) {
    return failure("{\"prompt\": \"a\", " + option + "}");
  };
  for (const char* value : {"-1", "1.5", "16777217", "\"5\"", "null"}) {
    CHECK_CONTAINS(with("\"max_new_tokens\": " + std::string(value)),
                   "max_new_tokens: expected an integer from 0 to 16777216");
  }
  CHECK_CONTAINS(with(R"("temperature": -0.1)"), "temperature: expected");
  CHECK_CONTAINS(with(R"("temperature": 101)"), "a number from 0 to 100");
  CHECK_CONTAINS(with(R"("top_p": 1.01)"), "top_p: expected");
  CHECK_CONTAINS(with(R"("seed": -1)"), "seed: expected");
  CHECK_CONTAINS(with(R"("stop": "a")"), "stop: expected a list");
  CHECK_CONTAINS(with(R"("stop": [""])"), "not empty");
  CHECK_CONTAINS(with(R"("reuse": 1)"), "reuse: expected true or false");
}

TEST(messages_out_of_turn_are_named) {
  CHECK_CONTAINS(failure(R"({"messages": []})"), "messages: expected a list");
  CHECK_CONTAINS(failure(R"({"messages": {}})"), "messages: expected a list");
  CHECK_CONTAINS(
      failure(R"({"messages": [{"role": "system", "content": "a"}]})"),
      "messages[0]: expected {\"role\": \"user\"");
  CHECK_CONTAINS(failure(R"({"messages": [{"role": "user", "content": 1}]})"),
                 "messages[0]");
  CHECK_CONTAINS(failure(R"({"messages": [{"role": "user", "content": "a"},
      {"role": "user", "content": "b"}, {"role": "user", "content": "c"}]})"),
                 "messages[1]: expected {\"role\": \"assistant\"");
}

TEST(deep_nesting_is_refused) {
  const std::string deep(1000000, '[');
  CHECK_CONTAINS(failure("{\"prompt\": " + deep), "nested too deeply");
  const std::string closed = deep + std::string(deep.size(), ']');
  CHECK_CONTAINS(failure("{\"id\": " + closed + "}"), "nested too deeply");
  const Request text =
      parsed(R"({"prompt": "[[[[[[[[[[[[\"{{{{{{{{{{{{{{\\"})");
  CHECK_EQUAL(*text.prompt->text,
              std::string("[[[[[[[[[[[[\"{{{{{{{{{{{{{{\\"));
}

}  // namespace
