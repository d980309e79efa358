#include "bpe.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <queue>
#include <tuple>
#include <utility>

#include "unicode.h"

namespace ptefoundry {
namespace {

using nlohmann::json;

constexpr int64_t kNone = -1;
// No vocabulary comes near, and tables have a place for each id.
constexpr int64_t kLargestId = (1 << 24) - 1;

// Printable Latin-1 characters stand for themselves; the other 68 bytes are
// U+0100 onwards, in order.
bool stands_for_itself(unsigned byte) {
  return (0x21 <= byte && byte <= 0x7E) || (0xA1 <= byte && byte <= 0xAC) ||
         (0xAE <= byte && byte <= 0xFF);
}

std::unordered_map<char32_t, char> make_byte_alphabet() {
  std::unordered_map<char32_t, char> alphabet;
  char32_t substitute = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char32_t character = stands_for_itself(byte) ? byte : substitute++;
    alphabet[character] = static_cast<char>(byte);
  }
  return alphabet;
}

Status refuse_unless_absent(const json& model, const char* key) {
  const json value = model.value(key, json());
  if (value.is_null() || value == false || value == "" || value == 0.0) {
    return Done{};
  }
  return Failure{"the BPE option " + std::string(key) + " = " + value.dump() +
                 " is not supported"};
}

// A merge is a list of two tokens, or in older files one text.
Result<std::pair<std::string, std::string>> read_pair(const json& merge) {
  if (merge.is_array()) {
    return std::pair(merge.at(0).get<std::string>(),
                     merge.at(1).get<std::string>());
  }
  const auto text = merge.get<std::string>();
  const size_t space = text.find(' ');
  if (space == std::string::npos ||
      text.find(' ', space + 1) != std::string::npos) {
    return Failure{"the merge '" + text + "' is not two tokens"};
  }
  return std::pair(text.substr(0, space), text.substr(space + 1));
}

uint64_t pair_of(int64_t left, int64_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint64_t>(right);
}

// One symbol of the piece being merged, in a list linked by indices.
struct Symbol {
  int64_t id;
  int64_t previous;
  int64_t next;
  bool removed;
};

// The pair whose left symbol stands at `position`.
struct Candidate {
  int64_t rank;
  int64_t position;
  int64_t merged_id;

  // Makes std::priority_queue yield the lowest rank, then the leftmost pair.
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

}  // namespace

std::optional<std::string> from_byte_alphabet(std::string_view text) {
  static const auto alphabet = make_byte_alphabet();
  std::string bytes;
  for (size_t offset = 0; offset < text.size();) {
    const auto byte = alphabet.find(next_code_point(text, offset));
    if (byte == alphabet.end()) {
      return std::nullopt;
    }
    bytes.push_back(byte->second);
  }
  return bytes;
}

Result<Vocabulary> read_vocabulary(const json& model) {
  // Old files leave the type out.
  const auto type = model.value("type", std::string("BPE"));
  if (type != "BPE") {
    return Failure{"the model type " + type + " is not supported, only BPE is"};
  }
  const auto& tokens = model.at("vocab").get_ref<const json::object_t&>();
  Vocabulary vocabulary;
  vocabulary.reserve(tokens.size());
  for (const auto& [token, id] : tokens) {
    const auto number = id.get<int64_t>();
    if (number < 0 || number > kLargestId) {
      return Failure{"the token '" + token + "' has id " + id.dump() +
                     ", expected 0 to " + std::to_string(kLargestId)};
    }
    vocabulary[token] = number;
  }
  return vocabulary;
}

Result<Bpe> Bpe::create(const json& model, const Vocabulary& vocabulary) {
  for (const char* option : {"dropout", "continuing_subword_prefix",
                             "end_of_word_suffix", "byte_fallback"}) {
    RETURN_IF_FAILED(refuse_unless_absent(model, option));
  }
  Bpe bpe;
  bpe.ignore_merges_ = model.value("ignore_merges", false);
  bpe.read_tokens(vocabulary);
  RETURN_IF_FAILED(bpe.read_merges(model.at("merges"), vocabulary));
  const bool covers_all_bytes =
      std::find(bpe.byte_ids_.begin(), bpe.byte_ids_.end(), kNone) ==
      bpe.byte_ids_.end();
  if (!covers_all_bytes) {
    // With a token for every byte nothing can be unknown.
    RETURN_IF_FAILED(refuse_unless_absent(model, "unk_token"));
  }
  return bpe;
}

void Bpe::read_tokens(const Vocabulary& vocabulary) {
  byte_ids_.fill(kNone);
  std::vector<std::pair<std::string, int64_t>> words;
  for (const auto& [token, id] : vocabulary) {
    auto bytes = from_byte_alphabet(token);
    if (!bytes.has_value() || bytes->empty()) {
      continue;  // Such a token can be decoded, but no text leads to it.
    }
    if (bytes->size() == 1) {
      byte_ids_[static_cast<unsigned char>(bytes->front())] = id;
    }
    if (ignore_merges_) {
      words.emplace_back(std::move(*bytes), id);
    }
  }
  std::sort(words.begin(), words.end());
  for (const auto& [bytes, id] : words) {
    words_.push_back(bytes);
    word_ids_.push_back(static_cast<uint32_t>(id));
  }
}

Status Bpe::read_merges(const json& merges, const Vocabulary& vocabulary) {
  merges_.reserve(merges.size());
  for (const json& merge : merges) {
    ASSIGN_OR_RETURN(const auto pair, read_pair(merge));
    const auto& [left, right] = pair;
    const auto left_id = vocabulary.find(left);
    const auto right_id = vocabulary.find(right);
    const auto merged_id = vocabulary.find(left + right);
    for (const auto& id : {left_id, right_id, merged_id}) {
      if (id == vocabulary.end()) {
        return Failure{"the merge '" + left + " " + right +
                       "' has a token that is not in the vocabulary"};
      }
    }
    merges_.push_back({static_cast<uint32_t>(left_id->second),
                       static_cast<uint32_t>(right_id->second),
                       static_cast<uint32_t>(merges_.size()),
                       static_cast<uint32_t>(merged_id->second)});
  }
  std::sort(merges_.begin(), merges_.end(), [](const Merge& a, const Merge& b) {
    return std::tie(a.left, a.right, a.rank) <
           std::tie(b.left, b.right, b.rank);
  });
  return Done{};
}

const Bpe::Merge* Bpe::find_merge(int64_t left, int64_t right) const {
  // Of a pair that is there twice the last one counts.
  const auto after = std::upper_bound(
      merges_.begin(), merges_.end(), pair_of(left, right),
      [](uint64_t pair, const Merge& merge) {
        return pair < pair_of(merge.left, merge.right);
      });
  if (after == merges_.begin()) {
    return nullptr;
  }
  const Merge& found = *std::prev(after);
  return found.left == left && found.right == right ? &found : nullptr;
}

std::optional<int64_t> Bpe::find_word(std::string_view bytes) const {
  size_t first = 0;
  size_t count = words_.size();
  while (count > 0) {
    const size_t half = count / 2;
    if (words_[first + half] < bytes) {
      first += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  if (first == words_.size() || words_[first] != bytes) {
    return std::nullopt;
  }
  return word_ids_[first];
}

void Bpe::encode(std::string_view piece, std::vector<int64_t>& ids) const {
  if (ignore_merges_) {
    if (const auto whole = find_word(piece)) {
      ids.push_back(*whole);
      return;
    }
  }
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (const char byte : piece) {
    const int64_t id = byte_ids_[static_cast<unsigned char>(byte)];
    if (id != kNone) {
      const auto position = static_cast<int64_t>(symbols.size());
      symbols.push_back({id, position - 1, position + 1, false});
    }
  }
  if (symbols.empty()) {
    return;
  }
  symbols.back().next = kNone;

  std::priority_queue<Candidate> candidates;
  const auto consider = [&](int64_t position) {
    const int64_t next = position == kNone ? kNone : symbols[position].next;
    if (next == kNone) {
      return;
    }
    const Merge* const merge =
        find_merge(symbols[position].id, symbols[next].id);
    if (merge != nullptr) {
      candidates.push({merge->rank, position, merge->id});
    }
  };
  for (size_t i = 0; i < symbols.size(); ++i) {
    consider(static_cast<int64_t>(i));
  }
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    Symbol& left = symbols[best.position];
    if (left.removed || left.next == kNone) {
      continue;
    }
    Symbol& right = symbols[left.next];
    // Either symbol may have been merged since the pair was considered.
    const Merge* const merge = find_merge(left.id, right.id);
    if (merge == nullptr || merge->id != best.merged_id) {
      continue;
    }
    left.id = best.merged_id;
    left.next = right.next;
    right.removed = true;
    if (left.next != kNone) {
      symbols[left.next].previous = best.position;
    }
    consider(left.previous);
    consider(best.position);
  }
  for (const Symbol& symbol : symbols) {
    if (!symbol.removed) {
      ids.push_back(symbol.id);
    }
  }
}

}  // namespace ptefoundry
