// A compiled regular expression over UTF-8 text.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "result.h"

namespace ptefoundry {

// Bytes [begin, end) of a text.
struct ByteRange {
  size_t begin;
  size_t end;
};

class Pattern {
 public:
  // Takes PCRE2 syntax, see pattern_syntax.h. Refuses a pattern that can match
  // the empty string, since a split at nothing has no meaning.
  static Result<Pattern> compile(const std::string& pattern);

  // All matches in valid UTF-8, from left to right, without overlap.
  Result<std::vector<ByteRange>> find_all(std::string_view text) const;

 private:
  struct Compiled;
  explicit Pattern(std::shared_ptr<const Compiled> compiled);

  std::shared_ptr<const Compiled> compiled_;
};

}  // namespace ptefoundry
