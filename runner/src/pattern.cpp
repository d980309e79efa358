#include "pattern.h"

#include <pcre2.h>

namespace ptefoundry {
namespace {

// Long runs of white space need a deep stack to find that they backtrack.
constexpr size_t kMinStackBytes = 32 * 1024;
constexpr size_t kMaxStackBytes = 64 * 1024 * 1024;

std::string describe(int error) {
  PCRE2_UCHAR message[256] = {};
  pcre2_get_error_message(error, message, sizeof(message));
  return reinterpret_cast<const char*>(message);
}

template <typename T, void (*release)(T*)>
struct Releaser {
  void operator()(T* pointer) const { release(pointer); }
};
template <typename T, void (*release)(T*)>
using Owned = std::unique_ptr<T, Releaser<T, release>>;

}  // namespace

struct Pattern::Compiled {
  Owned<pcre2_code, pcre2_code_free> code;
  Owned<pcre2_match_data, pcre2_match_data_free> match;
  Owned<pcre2_jit_stack, pcre2_jit_stack_free> stack;
  Owned<pcre2_match_context, pcre2_match_context_free> context;
};

Pattern::Pattern(std::shared_ptr<const Compiled> compiled)
    : compiled_(std::move(compiled)) {}

Result<Pattern> Pattern::compile(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto compiled = std::make_shared<Compiled>();
  compiled->code.reset(pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
      PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
  if (compiled->code == nullptr) {
    return Failure{"the pattern " + pattern + " is wrong at byte " +
                   std::to_string(offset) + ": " + describe(error)};
  }
  uint32_t matches_empty = 0;
  pcre2_pattern_info(compiled->code.get(), PCRE2_INFO_MATCHEMPTY,
                     &matches_empty);
  if (matches_empty != 0) {
    return Failure{"the pattern " + pattern +
                   " can match nothing at all, which is not supported"};
  }
  // Where there is no just-in-time compiler the interpreter does the same.
  pcre2_jit_compile(compiled->code.get(), PCRE2_JIT_COMPLETE);
  compiled->match.reset(
      pcre2_match_data_create_from_pattern(compiled->code.get(), nullptr));
  compiled->stack.reset(
      pcre2_jit_stack_create(kMinStackBytes, kMaxStackBytes, nullptr));
  compiled->context.reset(pcre2_match_context_create(nullptr));
  if (compiled->match == nullptr || compiled->context == nullptr) {
    return Failure{"no memory is left for the pattern " + pattern};
  }
  pcre2_jit_stack_assign(compiled->context.get(), nullptr,
                         compiled->stack.get());
  return Pattern(std::move(compiled));
}

Result<std::vector<ByteRange>> Pattern::find_all(std::string_view text) const {
  std::vector<ByteRange> matches;
  size_t start = 0;
  while (start < text.size()) {
    const int count = pcre2_match(
        compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
        text.size(), start, PCRE2_NO_UTF_CHECK, compiled_->match.get(),
        compiled_->context.get());
    if (count == PCRE2_ERROR_NOMATCH) {
      break;
    }
    if (count < 0) {
      return Failure{"cannot split the text at byte " + std::to_string(start) +
                     ": " + describe(count)};
    }
    const PCRE2_SIZE* bounds =
        pcre2_get_ovector_pointer(compiled_->match.get());
    matches.push_back({bounds[0], bounds[1]});
    start = bounds[1];
  }
  return matches;
}

}  // namespace ptefoundry
