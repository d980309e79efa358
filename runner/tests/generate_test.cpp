#include "generate.h"

#include <string>
#include <vector>

#include "check.h"

namespace {

using namespace ptefoundry;

// Answers token t with token t + 1 and remembers what it was fed.
class CountingModel : public Model {
 public:
  explicit CountingModel(int64_t context)
      : info_{"counting.pte", "counting", context, 4, 100, {}} {}

  const ModelInfo& info() const override { return info_; }

  Result<Logits> forward(const int64_t* tokens, int64_t count,
                         int64_t position) override {
    history_.resize(position);
    history_.insert(history_.end(), tokens, tokens + count);
    chunks_.push_back(count);
    logits_.assign(info_.vocab_size, 0.0f);
    logits_[tokens[count - 1] + 1] = 1.0f;
    return Logits{logits_.data(), info_.vocab_size};
  }

  std::vector<int64_t> history_;
  std::vector<int64_t> chunks_;

 private:
  ModelInfo info_;
  std::vector<float> logits_;
};

using Ids = std::vector<int64_t>;

Result<Generation> generate(History& history, const Ids& prompt,
                            const GenerateOptions& options,
                            Ids* streamed = nullptr) {
  Sampler sampler({0, 1, 0});
  const auto stream = [&](int64_t id) -> std::optional<FinishReason> {
    if (streamed != nullptr) {
      streamed->push_back(id);
    }
    return std::nullopt;
  };
  return history.generate(prompt, options, sampler, stream);
}

TEST(an_answer_ends_when_its_reader_has_a_reason) {
  CountingModel model(50);
  History history(model);
  Sampler sampler({0, 1, 0});
  const auto until_12 = [](int64_t id) -> std::optional<FinishReason> {
    return id == 12 ? std::optional(FinishReason::kStop) : std::nullopt;
  };
  const auto answer = history.generate({10}, {9, {}}, sampler, until_12);
  CHECK(answer.value().tokens == (Ids{11, 12}));
  CHECK(answer.value().finish_reason == FinishReason::kStop);
  CHECK(history.tokens() == (Ids{10, 11, 12}));
}

TEST(a_history_feeds_only_what_it_does_not_share) {
  CountingModel model(50);
  History history(model);
  CHECK(history.append({1, 2, 3, 4, 5, 6}).ok());
  CHECK(model.chunks_ == (Ids{4, 2}));
  CHECK_EQUAL(history.keep_common({1, 2, 3, 9}), 3);
  const auto answer = generate(history, {9, 10}, {2, {}});
  CHECK_EQUAL(answer.value().prefill_tokens, 2);
  CHECK(model.history_ == (Ids{1, 2, 3, 9, 10, 11}));
  CHECK(history.tokens() == (Ids{1, 2, 3, 9, 10, 11, 12}));
  CHECK_EQUAL(history.keep_common({1, 2, 3, 9, 10, 11, 12, 13}), 7);
  CHECK_EQUAL(generate(history, {13}, {1, {}}).value().prefill_tokens, 2);
  CHECK_EQUAL(history.keep_common({}), 0);
  CHECK_EQUAL(generate(history, {1}, {1, {}}).value().prefill_tokens, 1);
}

TEST(a_conversation_longer_than_the_context_is_not_appended) {
  CountingModel model(5);
  History history(model);
  CHECK(!history.append({1, 2, 3, 4, 5, 6}).ok());
  CHECK(!history.append({1, 100}).ok());
  CHECK(history.tokens().empty());
  CHECK(history.append({1, 2, 3, 4, 5}).ok());
  CHECK_EQUAL(history.max_prompt_len(), 0);
}

TEST(prefill_runs_in_chunks_of_the_longest_call) {
  CountingModel model(50);
  History history(model);
  const auto answer = generate(history, {1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, {}});
  CHECK(answer.ok());
  CHECK(model.chunks_ == (Ids{4, 4, 1}));
  CHECK_EQUAL(answer.value().prefill_tokens, 9);
}

TEST(the_length_limit_ends_an_answer) {
  CountingModel model(50);
  History history(model);
  const auto answer = generate(history, {10}, {3, {}});
  CHECK(answer.value().tokens == (Ids{11, 12, 13}));
  CHECK_EQUAL(to_string(answer.value().finish_reason), std::string("length"));
  CHECK(model.history_ == (Ids{10, 11, 12}));
}

TEST(any_end_of_sequence_token_ends_an_answer_and_is_not_streamed) {
  CountingModel model(50);
  History history(model);
  Ids streamed;
  const auto answer = generate(history, {10}, {9, {40, 13}}, &streamed);
  CHECK(answer.value().tokens == (Ids{11, 12, 13}));
  CHECK(streamed == (Ids{11, 12}));
  CHECK_EQUAL(to_string(answer.value().finish_reason), std::string("eos"));
}

TEST(a_full_context_ends_an_answer) {
  CountingModel model(6);
  History history(model);
  const auto answer = generate(history, {10, 11}, {9, {}});
  CHECK(answer.value().tokens == (Ids{12, 13, 14, 15}));
  CHECK_EQUAL(to_string(answer.value().finish_reason), std::string("context"));
}

TEST(a_prompt_has_to_leave_room_for_one_token) {
  CountingModel model(4);
  History full(model);
  CHECK_EQUAL(generate(full, {1, 2, 3}, {9, {}}).value().tokens.size(), 1u);
  History history(model);
  const auto refused = generate(history, {1, 2, 3, 4}, {9, {}});
  CHECK(!refused.ok());
  CHECK_CONTAINS(refused.failure().message, "room for a prompt of 3");
}

TEST(a_history_goes_on_after_an_end_of_sequence) {
  CountingModel model(50);
  History history(model);
  CHECK(generate(history, {10}, {9, {12}}).ok());
  CHECK(generate(history, {20, 21}, {1, {}}).ok());
  CHECK(model.history_ == (Ids{10, 11, 20, 21}));
}

TEST(a_history_feeds_the_last_token_of_an_answer_cut_short) {
  CountingModel model(50);
  History history(model);
  CHECK(generate(history, {10}, {2, {}}).ok());
  const auto answer = generate(history, {20}, {1, {}});
  CHECK_EQUAL(answer.value().prefill_tokens, 2);
  CHECK(model.history_ == (Ids{10, 11, 12, 20}));
}

TEST(a_history_knows_what_its_context_still_holds) {
  CountingModel model(8);
  History history(model);
  CHECK_EQUAL(history.max_prompt_len(), 7);
  CHECK(generate(history, {10}, {2, {}}).ok());
  CHECK_EQUAL(history.max_prompt_len(), 4);
  CHECK(!generate(history, {1, 2, 3, 4, 5}, {1, {}}).ok());
  CHECK(generate(history, {1, 2, 3, 4}, {1, {}}).ok());
}

TEST(tokens_outside_of_the_vocabulary_are_refused) {
  CountingModel model(50);
  History history(model);
  CHECK(!generate(history, {}, {1, {}}).ok());
  CHECK(!generate(history, {-1}, {1, {}}).ok());
  const auto refused = generate(history, {100}, {1, {}});
  CHECK(!refused.ok());
  CHECK_CONTAINS(refused.failure().message, "vocabulary of 100");
}

TEST(an_answer_of_no_tokens_gives_the_logits_of_the_prompt) {
  CountingModel model(50);
  History history(model);
  const auto answer = generate(history, {1, 7}, {0, {}, /*keep_logits=*/true});
  CHECK(answer.value().tokens.empty());
  CHECK_EQUAL(answer.value().logits.size(), 100u);
  CHECK_EQUAL(answer.value().logits[8], 1.0f);
}

}  // namespace
