// Continues token sequences with a model.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "model.h"
#include "result.h"
#include "sampling.h"

namespace ptefoundry {

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  std::vector<int64_t> eos_ids;  // any of them ends the answer
  bool keep_logits = false;
};

enum class FinishReason { kEos, kLength, kContext, kStop, kCancelled };

// "eos", "length", "context", "stop" or "cancelled".
const char* to_string(FinishReason reason);

// Times are in seconds.
struct Generation {
  std::vector<int64_t> tokens;  // with the end-of-sequence token, if it came
  FinishReason finish_reason;
  int64_t prefill_tokens;
  double prefill_s;
  double first_token_s;  // from the start of the prefill to the first token
  double decode_s;       // from the first token to the last
  std::vector<float> logits;  // of the prompt's last token, if asked for
};

// One history in a model's KV cache.
class History {
 public:
  // May end the answer by naming a reason.
  using OnToken = std::function<std::optional<FinishReason>(int64_t id)>;

  explicit History(Model& model) : model_(&model) {}

  const std::vector<int64_t>& tokens() const { return tokens_; }

  // Tokens a prompt may have, so that the context has room for an answer.
  int64_t max_prompt_len() const;

  // Forgets everything behind the longest common start with `tokens`, and
  // returns its length.
  int64_t keep_common(const std::vector<int64_t>& tokens);

  // Appends tokens without an answer.
  Status append(const std::vector<int64_t>& tokens);

  // Appends a prompt to the history and answers it. `on_token` sees every
  // token but the end of sequence, which does not become part of the history.
  Result<Generation> generate(const std::vector<int64_t>& prompt,
                              const GenerateOptions& options, Sampler& sampler,
                              const OnToken& on_token);

 private:
  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
  Status check_ids(const std::vector<int64_t>& ids) const;
  Status check_prompt(const std::vector<int64_t>& prompt) const;
  Result<Logits> feed();

  Model* model_;
  std::vector<int64_t> tokens_;
  // How many of them are in the KV cache. The last token of an answer that was
  // cut short is part of the history, but the model has not seen it yet.
  int64_t fed_ = 0;
};

}  // namespace ptefoundry
