#include "generate.h"

#include <algorithm>
#include <chrono>

namespace ptefoundry {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool contains(const std::vector<int64_t>& ids, int64_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

const char* to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEos:
      return "eos";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kContext:
      return "context";
  }
  return "";
}

int64_t History::max_prompt_len() const {
  const int64_t used = position_ + (unseen_.has_value() ? 1 : 0);
  return std::max<int64_t>(model_.info().max_context_len - used - 1, 0);
}

Status History::check_prompt(const std::vector<int64_t>& prompt) const {
  const ModelInfo& info = model_.info();
  if (prompt.empty()) {
    return Failure{"the prompt has no tokens; give it at least one"};
  }
  for (const int64_t id : prompt) {
    if (id < 0 || id >= info.vocab_size) {
      return Failure{"the prompt has token " + std::to_string(id) + ", but " +
                     info.path + " has a vocabulary of " +
                     std::to_string(info.vocab_size) +
                     "; use the tokenizer it was built with"};
    }
  }
  const auto length = static_cast<int64_t>(prompt.size());
  if (length > max_prompt_len()) {
    return Failure{"the prompt has " + std::to_string(length) +
                   " tokens, but the context of " + info.path + " (" +
                   std::to_string(info.max_context_len) +
                   " tokens) has room for a prompt of " +
                   std::to_string(max_prompt_len()) + "; shorten it"};
  }
  return Done{};
}

Result<Logits> History::feed(const std::vector<int64_t>& tokens) {
  Logits logits = {nullptr, 0};
  const auto total = static_cast<int64_t>(tokens.size());
  for (int64_t start = 0; start < total;) {
    const int64_t count = std::min(total - start, model_.info().max_chunk_len);
    ASSIGN_OR_RETURN(logits,
                     model_.forward(tokens.data() + start, count, position_));
    start += count;
    position_ += count;
  }
  return logits;
}

Result<Generation> History::generate(const std::vector<int64_t>& prompt,
                                     const GenerateOptions& options,
                                     Sampler& sampler,
                                     const OnToken& on_token) {
  RETURN_IF_FAILED(check_prompt(prompt));
  std::vector<int64_t> tokens;
  if (unseen_.has_value()) {
    tokens.push_back(*unseen_);
    unseen_.reset();
  }
  tokens.insert(tokens.end(), prompt.begin(), prompt.end());

  Generation generation = {};
  generation.finish_reason = FinishReason::kLength;
  generation.prefill_tokens = static_cast<int64_t>(tokens.size());
  const Clock::time_point start = Clock::now();
  ASSIGN_OR_RETURN(Logits logits, feed(tokens));
  generation.prefill_s = seconds_since(start);
  if (options.keep_logits) {
    generation.logits.assign(logits.data, logits.data + logits.size);
  }

  const int64_t max_context_len = model_.info().max_context_len;
  while (static_cast<int64_t>(generation.tokens.size()) <
         options.max_new_tokens) {
    if (unseen_.has_value()) {
      const std::vector<int64_t> last = {*unseen_};
      unseen_.reset();
      ASSIGN_OR_RETURN(logits, feed(last));
    }
    ASSIGN_OR_RETURN(const int64_t id, sampler.sample(logits));
    generation.tokens.push_back(id);
    const double elapsed = seconds_since(start);
    if (generation.tokens.size() == 1) {
      generation.first_token_s = elapsed;
    }
    generation.decode_s = elapsed - generation.first_token_s;
    if (contains(options.eos_ids, id)) {
      generation.finish_reason = FinishReason::kEos;
      break;
    }
    unseen_ = id;
    on_token(id);
    if (position_ + 1 >= max_context_len) {
      generation.finish_reason = FinishReason::kContext;
      break;
    }
  }
  return generation;
}

}  // namespace ptefoundry
