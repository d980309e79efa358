// Byte-level byte-pair encoding.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "result.h"
#include "string_table.h"

namespace ptefoundry {

// The bytes behind a string of the byte-level alphabet, in which every byte
// is one printable character. Empty if a character is not of the alphabet.
std::optional<std::string> from_byte_alphabet(std::string_view text);

// Ids of tokens, as spelled in the file, so in the byte-level alphabet. Points
// into the document that it was read from.
using Vocabulary = std::unordered_map<std::string_view, int64_t>;

// `model` is the value of `model` in tokenizer.json. Refused unless it is BPE.
Result<Vocabulary> read_vocabulary(const nlohmann::json& model);

class Bpe {
 public:
  // `model` has this vocabulary.
  static Result<Bpe> create(const nlohmann::json& model,
                            const Vocabulary& vocabulary);

  // Appends the ids of one piece of text.
  void encode(std::string_view piece, std::vector<int64_t>& ids) const;

 private:
  // Hundreds of thousands of them stay in memory.
  struct Merge {
    uint32_t left;
    uint32_t right;
    uint32_t rank;
    uint32_t id;  // of the merged token
  };

  void read_tokens(const Vocabulary& vocabulary);
  Status read_merges(const nlohmann::json& merges,
                     const Vocabulary& vocabulary);
  const Merge* find_merge(int64_t left, int64_t right) const;
  std::optional<int64_t> find_word(std::string_view bytes) const;

  std::vector<Merge> merges_;          // by left, right and rank
  StringTable words_;                  // sorted; only for ignore_merges_
  std::vector<uint32_t> word_ids_;     // of words_
  std::array<int64_t, 256> byte_ids_;  // -1 where the vocabulary has none
  bool ignore_merges_ = false;
};

}  // namespace ptefoundry
