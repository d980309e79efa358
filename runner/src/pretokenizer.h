// Cuts text into the pieces that byte-pair encoding may not merge across.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "result.h"

namespace ptefoundry {

// One element of tokenizer.json's `pre_tokenizer`.
class SplitStep {
 public:
  virtual ~SplitStep() = default;

  // Appends the parts of one non-empty piece of valid UTF-8.
  virtual Status split(const std::string& piece,
                       std::vector<std::string>& parts) const = 0;
};

// Supports Sequence, Split (Regex or String, every behavior, invert), Digits
// and, as the last one, ByteLevel.
class Pretokenizer {
 public:
  // `spec` is the value of `pre_tokenizer`; anything else is refused by name.
  static Result<Pretokenizer> create(const nlohmann::json& spec);

  Result<std::vector<std::string>> split(const std::string& text) const;

 private:
  explicit Pretokenizer(std::vector<std::unique_ptr<SplitStep>> steps);

  std::vector<std::unique_ptr<SplitStep>> steps_;
};

}  // namespace ptefoundry
