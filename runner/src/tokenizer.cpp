#include "tokenizer.h"

#include <algorithm>

#include "tokenizer_file.h"
#include "unicode.h"

namespace ptefoundry {
namespace {

// A range of a text, seen from a part of the text that starts at `start`.
ByteRange shift_left(ByteRange range, size_t start) {
  return {range.begin - std::min(range.begin, start),
          range.end - std::min(range.end, start)};
}

}  // namespace

Result<Tokenizer> Tokenizer::load(const std::string& directory) {
  ASSIGN_OR_RETURN(TokenizerParts parts, read_tokenizer_file(directory));
  return Tokenizer(std::move(parts));
}

Result<std::vector<int64_t>> Tokenizer::encode(std::string_view text) const {
  ASSIGN_OR_RETURN(const std::vector<int64_t> body,
                   encode_verbatim(text, {0, 0}));
  std::vector<int64_t> ids = parts_.prefix;
  ids.insert(ids.end(), body.begin(), body.end());
  ids.insert(ids.end(), parts_.suffix.begin(), parts_.suffix.end());
  return ids;
}

Result<std::vector<int64_t>> Tokenizer::encode_verbatim(
    std::string_view text, ByteRange literal) const {
  const size_t invalid = find_invalid_utf8(text);
  if (invalid != std::string_view::npos) {
    return Failure{"the text is not valid UTF-8 at byte " +
                   std::to_string(invalid) + "; convert it to UTF-8"};
  }
  std::vector<int64_t> ids;
  ASSIGN_OR_RETURN(const auto stretches, parts_.raw_tokens.find(text, literal));
  for (const Stretch& stretch : stretches) {
    if (stretch.id.has_value()) {
      ids.push_back(*stretch.id);
      continue;
    }
    const auto [begin, end] = stretch.range;
    std::string normalized(text.substr(begin, end - begin));
    if (parts_.nfc) {
      ASSIGN_OR_RETURN(normalized, normalize_nfc(normalized));
    }
    RETURN_IF_FAILED(
        encode_stretch(normalized, shift_left(literal, begin), ids));
  }
  return ids;
}

Status Tokenizer::encode_stretch(const std::string& normalized,
                                 ByteRange literal,
                                 std::vector<int64_t>& ids) const {
  ASSIGN_OR_RETURN(const auto stretches,
                   parts_.normalized_tokens.find(normalized, literal));
  for (const Stretch& stretch : stretches) {
    if (stretch.id.has_value()) {
      ids.push_back(*stretch.id);
      continue;
    }
    const auto [begin, end] = stretch.range;
    ASSIGN_OR_RETURN(
        const auto pieces,
        parts_.pretokenizer.split(normalized.substr(begin, end - begin)));
    for (const std::string& piece : pieces) {
      parts_.bpe.encode(piece, ids);
    }
  }
  return Done{};
}

std::string_view Tokenizer::bytes_of(int64_t id) const {
  const auto index = static_cast<size_t>(id);
  return index < parts_.bytes_by_id.size() ? parts_.bytes_by_id[index]
                                           : std::string_view();
}

}  // namespace ptefoundry
