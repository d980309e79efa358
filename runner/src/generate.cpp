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
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "";
}

int64_t History::max_prompt_len() const {
  return std::max<int64_t>(model_->info().max_context_len - size() - 1, 0);
}

Status History::check_ids(const std::vector<int64_t>& ids) const {
  const ModelInfo& info = model_->info();
  for (const int64_t id : ids) {
    if (id < 0 || id >= info.vocab_size) {
      return Failure{"the prompt has token " + std::to_string(id) + ", but " +
                     info.path + " has a vocabulary of " +
                     std::to_string(info.vocab_size) +
                     "; use the tokenizer it was built with"};
    }
  }
  return Done{};
}

Status History::check_prompt(const std::vector<int64_t>& prompt) const {
  const ModelInfo& info = model_->info();
  if (prompt.empty()) {
    return Failure{"the prompt has no tokens; give it at least one"};
  }
  RETURN_IF_FAILED(check_ids(prompt));
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

int64_t History::keep_common(const std::vector<int64_t>& tokens) {
  const auto end = std::mismatch(tokens_.begin(), tokens_.end(), tokens.begin(),
                                 tokens.end())
                       .first;
  // What the KV cache holds behind it is written over before it is read.
  tokens_.erase(end, tokens_.end());
  fed_ = std::min(fed_, size());
  return size();
}

Status History::append(const std::vector<int64_t>& tokens) {
  const ModelInfo& info = model_->info();
  RETURN_IF_FAILED(check_ids(tokens));
  const auto length = size() + static_cast<int64_t>(tokens.size());
  if (length > info.max_context_len) {
    return Failure{"the conversation has " + std::to_string(length) +
                   " tokens, but the context of " + info.path + " holds " +
                   std::to_string(info.max_context_len)};
  }
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  RETURN_IF_FAILED(feed());
  return Done{};
}

// Of the last token; there has to be one that the model has not seen.
Result<Logits> History::feed() {
  Logits logits = {nullptr, 0};
  while (fed_ < size()) {
    const int64_t count = std::min(size() - fed_, model_->info().max_chunk_len);
    const auto fed = model_->forward(tokens_.data() + fed_, count, fed_);
    if (!fed.ok()) {
      tokens_.resize(static_cast<size_t>(fed_));
      return fed.failure();
    }
    logits = fed.value();
    fed_ += count;
  }
  return logits;
}

Result<Generation> History::generate(const std::vector<int64_t>& prompt,
                                     const GenerateOptions& options,
                                     Sampler& sampler,
                                     const OnToken& on_token) {
  RETURN_IF_FAILED(check_prompt(prompt));
  tokens_.insert(tokens_.end(), prompt.begin(), prompt.end());

  Generation generation = {};
  generation.finish_reason = FinishReason::kLength;
  generation.prefill_tokens = size() - fed_;
  const Clock::time_point start = Clock::now();
  ASSIGN_OR_RETURN(Logits logits, feed());
  generation.prefill_s = seconds_since(start);
  if (options.keep_logits) {
    generation.logits.assign(logits.data, logits.data + logits.size);
  }

  while (static_cast<int64_t>(generation.tokens.size()) <
         options.max_new_tokens) {
    if (fed_ < size()) {
      ASSIGN_OR_RETURN(logits, feed());
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
    tokens_.push_back(id);
    if (const auto reason = on_token(id)) {
      generation.finish_reason = *reason;
      break;
    }
    if (size() >= model_->info().max_context_len) {
      generation.finish_reason = FinishReason::kContext;
      break;
    }
  }
  return generation;
}

}  // namespace ptefoundry
