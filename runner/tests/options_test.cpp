#include "options.h"

#include <string>
#include <vector>

#include "check.h"

namespace {

using namespace ptefoundry;
using Arguments = std::vector<std::string>;

std::string failure(const Arguments& arguments) {
  const auto options = parse_options(arguments);
  return options.ok() ? "" : options.failure().message;
}

TEST(flags_repeat_and_take_both_forms) {
  const auto options = parse_options({"--program",
                                      "a.pte",
                                      "--program=b.pte",
                                      "--data",
                                      "f.ptd",
                                      "--tokenizer=dir",
                                      "--prompt",
                                      "one",
                                      "--prompt=two=2",
                                      "--json",
                                      "--temperature",
                                      "0.5",
                                      "--top-p=0.9",
                                      "--seed",
                                      "7",
                                      "--threads=2",
                                      "--max-new-tokens",
                                      "3",
                                      "--load-mode",
                                      "file",
                                      "--no-weight-cache"});
  CHECK(options.ok());
  CHECK(options.value().programs == (Arguments{"a.pte", "b.pte"}));
  CHECK_EQUAL(options.value().prompts.size(), 2u);
  CHECK_EQUAL(*options.value().prompts[1].text, std::string("two=2"));
  CHECK_EQUAL(options.value().sampling.temperature, 0.5);
  CHECK_EQUAL(options.value().sampling.seed, 7u);
  CHECK_EQUAL(options.value().max_new_tokens, 3);
  CHECK(!options.value().load.mmap);
  CHECK(!options.value().load.weight_cache);
}

TEST(weights_are_shared_and_mapped_unless_told_otherwise) {
  const auto options = parse_options({"--program", "a", "--tokens", "1"});
  CHECK(options.value().load.mmap);
  CHECK(options.value().load.weight_cache);
}

TEST(token_lists_are_prompts) {
  const auto options =
      parse_options({"--program", "a", "--tokens", "1,22,333"});
  CHECK(options.value().prompts.front().tokens ==
        (std::vector<int64_t>{1, 22, 333}));
}

TEST(wrong_command_lines_are_refused_by_flag) {
  CHECK_CONTAINS(failure({"--frob"}), "--frob");
  CHECK_CONTAINS(failure({"--program"}), "needs a value");
  CHECK_CONTAINS(failure({"--json=yes"}), "takes no value");
  CHECK_CONTAINS(failure({"--seed", "-1"}), "--seed");
  CHECK_CONTAINS(failure({"--top-p", "1.5"}), "from 0 to 1");
  CHECK_CONTAINS(failure({"--top-p", "nan"}), "--top-p");
  CHECK_CONTAINS(failure({"--threads", "0"}), "from 1 to 1024");
  CHECK_CONTAINS(failure({"--load-mode", "magic"}), "mmap or file");
  for (const char* list : {"", "1,", ",1", "1;2", "1 2"}) {
    CHECK_CONTAINS(failure({"--tokens", list}), "ids separated by commas");
  }
}

TEST(what_is_missing_is_named) {
  CHECK_CONTAINS(failure({"--tokens", "1"}), "no --program");
  CHECK_CONTAINS(failure({"--program", "a"}), "no --prompt");
  CHECK_CONTAINS(failure({"--program", "a", "--prompt", "x"}), "--tokenizer");
  CHECK_CONTAINS(failure({"--chat", "--tokenizer", "t", "--program", "a/x.pte",
                          "--on-demand", "b/x.pte"}),
                 "another program 'x'");
  CHECK_CONTAINS(failure({"--chat", "--tokenizer", "t", "--program", "a",
                          "--prompt", "x"}),
                 "--chat takes no prompt");
  CHECK_CONTAINS(failure({"--serve-stdio"}), "no --program");
  CHECK_CONTAINS(
      failure({"--program", "a", "--on-demand", "b", "--tokens", "1"}),
      "--on-demand needs --chat");
  CHECK_CONTAINS(failure({"--packed-cache", ""}), "--packed-cache");
  CHECK_CONTAINS(failure({"--packed-cache-max-bytes", "-1"}), "max-bytes");
}

TEST(programs_of_a_dialogue_may_be_loaded_later) {
  CHECK(parse_options({"--serve-stdio", "--on-demand", "a.pte"}).ok());
  const auto chat = parse_options({"--chat", "--tokenizer", "t", "--program",
                                   "a.pte", "--on-demand", "b.pte"});
  CHECK(chat.ok());
  CHECK_EQUAL(chat.value().on_demand.size(), 1u);
}

TEST(without_a_weight_cache_nothing_is_kept_in_files) {
  const auto options =
      parse_options({"--program", "a", "--tokens", "1", "--no-weight-cache"});
  CHECK(options.ok() && !options.value().packed_cache.enabled);
}

TEST(the_help_names_every_flag) {
  for (const char* flag : {"--program", "--packed-cache", "--chat-template"}) {
    CHECK_CONTAINS(usage(), flag);
  }
}

}  // namespace
