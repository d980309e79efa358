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

namespace ptefoundry {

// The bytes behind a string of the byte-level alphabet, in which every byte
// is one printable character. Empty if a character is not of the alphabet.
std::optional<std::string> from_byte_alphabet(std::string_view text);

class Bpe {
 public:
  // `model` is the value of `model` in tokenizer.json, of type BPE.
  static Result<Bpe> create(const nlohmann::json& model);

  // Appends the ids of one piece of text.
  void encode(std::string_view piece, std::vector<int64_t>& ids) const;

  // As spelled in the file, so in the byte-level alphabet.
  const std::unordered_map<std::string, int64_t>& vocabulary() const {
    return vocabulary_;
  }

 private:
  struct Merge {
    int64_t rank;
    int64_t id;  // of the merged token
  };
  using Pair = std::pair<int64_t, int64_t>;
  struct PairHash {
    size_t operator()(const Pair& pair) const;
  };

  Status read_vocabulary(const nlohmann::json& vocab);
  Status read_merges(const nlohmann::json& merges);
  Status add_merge(const std::string& left, const std::string& right,
                   int64_t rank);

  std::unordered_map<std::string, int64_t> vocabulary_;
  std::unordered_map<std::string, int64_t> ids_by_bytes_;
  std::unordered_map<Pair, Merge, PairHash> merges_;
  std::array<int64_t, 256> byte_ids_;  // -1 where the vocabulary has none
  bool ignore_merges_ = false;
};

}  // namespace ptefoundry
