#include "pattern.h"

#include <string>
#include <vector>

#include "check.h"
#include "pattern_syntax.h"

namespace {

using namespace ptefoundry;

constexpr char kLlama3[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// The matches of an Oniguruma pattern, joined by '|'.
std::string split(const std::string& oniguruma, const std::string& text) {
  const auto translated = translate_pattern(oniguruma);
  if (!translated.ok()) {
    return translated.failure().message;
  }
  const auto pattern = Pattern::compile(translated.value());
  if (!pattern.ok()) {
    return pattern.failure().message;
  }
  std::string joined;
  const auto matches = pattern.value().find_all(text);
  for (const ByteRange& match : matches.value()) {
    joined += text.substr(match.begin, match.end - match.begin) + "|";
  }
  return joined;
}

TEST(the_llama_3_pattern_splits_words_and_numbers) {
  CHECK_EQUAL(split(kLlama3, "I'LL  pay $12345 for\r\n\nthat!\n"),
              std::string("I|'LL| | pay| $|123|45| for|\r\n\n|that|!\n|"));
}

TEST(white_space_is_that_of_unicode) {
  CHECK_EQUAL(split(R"(\s)", "\u180E\u3000x\u0085"),
              std::string("\u3000|\u0085|"));
  CHECK_EQUAL(split(R"([^\s]+)", "\u180E\u3000x"), std::string("\u180E|x|"));
  CHECK_EQUAL(split(R"(\S+)", "a \u180E"), std::string("a|\u180E|"));
}

TEST(letters_and_numbers_of_unicode_16_are_known) {
  CHECK_EQUAL(split(R"(\p{L}+)", "a\U00031350\u0BF0"),
              std::string("a\U00031350|"));
  CHECK_EQUAL(split(R"(\p{N}+)", "7\U00010D40x"), std::string("7\U00010D40|"));
  CHECK_EQUAL(split(R"(\P{L})", "a\U00031350-"), std::string("-|"));
}

TEST(escaped_text_matches_itself) {
  const auto pattern = Pattern::compile(escape_pattern("a.*[é]\\"));
  const auto matches = pattern.value().find_all("xa.*[é]\\ab[é]");
  CHECK_EQUAL(matches.value().size(), 1u);
  CHECK_EQUAL(matches.value().front().begin, 1u);
}

TEST(long_runs_of_white_space_do_not_exhaust_the_matcher) {
  const std::string spaces(1 << 20, ' ');
  CHECK_EQUAL(split(kLlama3, spaces + "x").size(), spaces.size() + 3);
}

TEST(what_the_engines_understand_differently_is_refused_by_name) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"(\w+)", "\\w"},           {R"(\bx)", "\\b"},
      {R"(x\1)", "\\1"},           {R"(^x)", "anchor ^"},
      {R"(x$)", "anchor $"},       {R"([[a]b])", "nested"},
      {R"([a&&b])", "nested"},     {R"([\S])", "\\S"},
      {R"(x{,3})", "{,3}"},        {R"(x{2}?)", "{2}?"},
      {R"(x{2,3}+)", "{2,3}+"},    {R"(\p{Han})", "\\p{Han}"},
      {R"((?m:x))", "(?m:"},       {R"([\P{L}])", "negated property"},
      {R"([)", "without end"},     {"\\", "backslash"},
      {R"(x*)", "nothing at all"}, {R"(x(?:)", "wrong at byte"}};
  for (const auto& [pattern, reason] : cases) {
    CHECK_CONTAINS(split(pattern, "x"), reason);
  }
}

}  // namespace
