#include "tokenizer.h"

#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "chat_template.h"
#include "check.h"
#include "files.h"

namespace {

using namespace ptefoundry;
using nlohmann::json;
using Ids = std::vector<int64_t>;

// Letters a to e and a space, some merges, and a chat's special tokens.
json small_tokenizer() {
  return json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [
      {"id": 9, "content": "<s>", "special": true, "normalized": false},
      {"id": 10, "content": "<|x|>", "special": true, "normalized": false},
      {"id": 11, "content": "dd", "special": false, "normalized": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
                      "trim_offsets": true, "use_regex": true},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [9],
                                 "tokens": ["<s>"]}}},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "dropout": null, "unk_token": null,
      "byte_fallback": false, "ignore_merges": false,
      "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "Ġ": 5, "ab": 6,
                "abc": 7, "Ġa": 8},
      "merges": ["Ġ a", ["a", "b"], "ab c"]}})");
}

const std::string& directory() {
  static const std::string path = check::temporary_directory();
  return path;
}

Result<Tokenizer> load(const json& file) {
  const std::string text = file.dump();
  CHECK(write_file(directory() + "/tokenizer.json", text.data(), text.size())
            .ok());
  return Tokenizer::load(directory());
}

std::string load_failure(const json& file) {
  const auto tokenizer = load(file);
  return tokenizer.ok() ? "" : tokenizer.failure().message;
}

TEST(merges_apply_by_rank_and_from_the_left) {
  const auto tokenizer = load(small_tokenizer());
  CHECK(tokenizer.value().encode_verbatim("abcab", {0, 0}).value() ==
        (Ids{7, 6}));
  CHECK(tokenizer.value().encode_verbatim("c abc", {0, 0}).value() ==
        (Ids{2, 8, 1, 2}));
}

TEST(the_post_processor_frames_a_text) {
  const auto tokenizer = load(small_tokenizer());
  CHECK(tokenizer.value().encode("a").value() == (Ids{9, 0}));
  CHECK(tokenizer.value().encode("").value() == (Ids{9}));
}

TEST(ignore_merges_takes_whole_words) {
  json file = small_tokenizer();
  file["model"]["vocab"]["cb"] = 9;
  file["model"]["ignore_merges"] = true;
  file["added_tokens"] = json::array();
  file["post_processor"] = nullptr;
  CHECK(load(file).value().encode("cb").value() == (Ids{9}));
  CHECK(load(file).value().encode("cbb").value() == (Ids{2, 1, 1}));
}

TEST(of_a_merge_that_is_there_twice_the_last_one_counts) {
  json file = small_tokenizer();
  file["model"]["vocab"]["bc"] = 9;
  file["model"]["merges"] = {"b c", "a b"};
  file["added_tokens"] = json::array();
  file["post_processor"] = nullptr;
  CHECK(load(file).value().encode("abc").value() == (Ids{0, 9}));
  file["model"]["merges"].push_back("b c");
  CHECK(load(file).value().encode("abc").value() == (Ids{6, 2}));
}

TEST(special_tokens_decode_to_nothing) {
  const auto tokenizer = load(small_tokenizer());
  CHECK_EQUAL(tokenizer.value().bytes_of(8), " a");
  CHECK_EQUAL(tokenizer.value().bytes_of(11), "dd");
  CHECK_EQUAL(tokenizer.value().bytes_of(10), "");
  CHECK_EQUAL(tokenizer.value().bytes_of(1000), "");
  CHECK_EQUAL(tokenizer.value().bytes_of(-1), "");
}

TEST(invalid_text_is_refused) {
  const auto ids = load(small_tokenizer()).value().encode("ab\xFF");
  CHECK(!ids.ok());
  CHECK_CONTAINS(ids.failure().message, "not valid UTF-8 at byte 2");
}

TEST(special_tokens_count_in_the_template_but_not_in_the_users_text) {
  const auto tokenizer = load(small_tokenizer());
  const ChatTurn turn = {"<s>a", "<|x|>"};
  CHECK(encode_turn(tokenizer.value(), turn, false, "b").value() ==
        (Ids{9, 6, 10}));
  // '<', 's', '>', '|' and 'x' are not in the vocabulary and so give no ids.
  CHECK(encode_turn(tokenizer.value(), turn, false, "<s>e<|x|>").value() ==
        (Ids{9, 0, 4, 10}));
  CHECK(encode_turn(tokenizer.value(), turn, false, "dd").value() ==
        (Ids{9, 0, 11, 10}));
}

TEST(white_space_around_the_users_text_goes_if_the_template_trims) {
  const auto tokenizer = load(small_tokenizer());
  const ChatTurn turn = {"<s>", "<|x|>"};
  const auto encode = [&](const char* user) {
    return encode_turn(tokenizer.value(), turn, true, user).value();
  };
  CHECK(encode(" \n\ta a\r ") == (Ids{9, 0, 8, 10}));
  CHECK(encode(" \v\f") == (Ids{9, 10}));
}

TEST(a_special_token_across_the_seam_is_text) {
  const auto tokenizer = load(small_tokenizer());
  CHECK(encode_turn(tokenizer.value(), {"a<|", "|>"}, false, "x").value() ==
        (Ids{0}));
}

TEST(what_is_not_supported_is_refused_by_name) {
  const auto type = [](const char* name) { return json{{"type", name}}; };
  const std::vector<std::tuple<const char*, json, const char*>> changes = {
      {"/normalizer", type("Lowercase"), "Lowercase"},
      {"/decoder", type("Metaspace"), "Metaspace"},
      {"/post_processor", type("BertProcessing"), "BertProcessing"},
      {"/pre_tokenizer", type("Whitespace"), "Whitespace"},
      {"/model/type", "Unigram", "Unigram"},
      {"/model/unk_token", "<unk>", "<unk>"},
      {"/model/end_of_word_suffix", "</w>", "end_of_word_suffix"},
      {"/model/byte_fallback", true, "byte_fallback"},
      {"/truncation", {{"max_length", 5}}, "truncation"}};
  for (const auto& [pointer, value, name] : changes) {
    json file = small_tokenizer();
    file[json::json_pointer(pointer)] = value;
    CHECK_CONTAINS(load_failure(file), name);
    CHECK_CONTAINS(load_failure(file), "is not supported");
  }
}

TEST(damaged_files_are_refused) {
  json file = small_tokenizer();
  file["added_tokens"][0]["id"] = 99;
  CHECK_CONTAINS(load_failure(file), "'<s>' has id 99, but counts as 9");
  file = small_tokenizer();
  file["model"]["merges"].push_back("a z");
  CHECK_CONTAINS(load_failure(file), "'a z' has a token");
  for (const int64_t id : {-1, 1 << 24}) {
    file = small_tokenizer();
    file["model"]["vocab"]["b"] = id;
    CHECK_CONTAINS(load_failure(file), "'b' has id " + std::to_string(id));
  }
  file["model"]["vocab"] = {1, 2};
  CHECK_CONTAINS(load_failure(file), "not a tokenizer");
  file = small_tokenizer();
  file["model"].erase("vocab");
  CHECK_CONTAINS(load_failure(file), "not a tokenizer");
  CHECK(write_file(directory() + "/tokenizer.json", "{", 1).ok());
  CHECK_CONTAINS(Tokenizer::load(directory()).failure().message,
                 "not a tokenizer");
  CHECK_CONTAINS(Tokenizer::load(directory() + "/none").failure().message,
                 "no such file");
}

TEST(chat_templates_are_read_and_checked) {
  const json good = {{"format_version", 1},
                     {"bos_token", nullptr},
                     {"eos_token_ids", {2, 3}},
                     {"first", {{"prefix", "<s>"}, {"suffix", "!"}}},
                     {"next", {{"prefix", "?"}, {"suffix", "!"}}}};
  const auto read = [](const json& file) {
    const std::string text = file.dump();
    CHECK(
        write_file(directory() + "/chat.json", text.data(), text.size()).ok());
    return read_chat_template(directory());
  };
  CHECK_EQUAL(read(good).value().chat->next.prefix, std::string("?"));
  CHECK(read(good).value().eos_token_ids == (Ids{2, 3}));
  json newer = good;
  newer["format_version"] = 2;
  CHECK_CONTAINS(read(newer).failure().message, "format_version is 2");
  json none = good;
  none["first"] = none["next"] = nullptr;
  none["no_chat"] = "it counts turns";
  CHECK(read(none).value().eos_token_ids == (Ids{2, 3}));
  CHECK_CONTAINS(require_chat(read(none).value()).failure().message,
                 "it counts turns");
  json broken = good;
  broken.erase("next");
  CHECK_CONTAINS(read(broken).failure().message, "not a chat template");
}

}  // namespace
