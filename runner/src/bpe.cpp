#include "bpe.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <queue>

#include "unicode.h"

namespace ptefoundry {
namespace {

using nlohmann::json;

constexpr int64_t kNone = -1;

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

size_t Bpe::PairHash::operator()(const Pair& pair) const {
  return std::hash<uint64_t>()(static_cast<uint64_t>(pair.first) << 32 ^
                               static_cast<uint64_t>(pair.second));
}

Result<Bpe> Bpe::create(const json& model) {
  // Old files leave the type out.
  const auto type = model.value("type", std::string("BPE"));
  if (type != "BPE") {
    return Failure{"the model type " + type + " is not supported, only BPE is"};
  }
  for (const char* option : {"dropout", "continuing_subword_prefix",
                             "end_of_word_suffix", "byte_fallback"}) {
    RETURN_IF_FAILED(refuse_unless_absent(model, option));
  }
  Bpe bpe;
  bpe.ignore_merges_ = model.value("ignore_merges", false);
  RETURN_IF_FAILED(bpe.read_vocabulary(model.at("vocab")));
  RETURN_IF_FAILED(bpe.read_merges(model.at("merges")));
  const bool covers_all_bytes =
      std::find(bpe.byte_ids_.begin(), bpe.byte_ids_.end(), kNone) ==
      bpe.byte_ids_.end();
  if (!covers_all_bytes) {
    // With a token for every byte nothing can be unknown.
    RETURN_IF_FAILED(refuse_unless_absent(model, "unk_token"));
  }
  return bpe;
}

Status Bpe::read_vocabulary(const json& vocab) {
  byte_ids_.fill(kNone);
  for (const auto& [token, id] : vocab.items()) {
    vocabulary_[token] = id.get<int64_t>();
    const auto bytes = from_byte_alphabet(token);
    if (!bytes.has_value() || bytes->empty()) {
      continue;  // Such a token can be decoded, but no text leads to it.
    }
    ids_by_bytes_[*bytes] = id.get<int64_t>();
    if (bytes->size() == 1) {
      byte_ids_[static_cast<unsigned char>(bytes->front())] = id.get<int64_t>();
    }
  }
  return Done{};
}

Status Bpe::read_merges(const json& merges) {
  merges_.reserve(merges.size());
  int64_t rank = 0;
  for (const json& merge : merges) {
    if (merge.is_array()) {
      RETURN_IF_FAILED(add_merge(merge.at(0).get<std::string>(),
                                 merge.at(1).get<std::string>(), rank++));
      continue;
    }
    const auto text = merge.get<std::string>();
    const size_t space = text.find(' ');
    if (space == std::string::npos ||
        text.find(' ', space + 1) != std::string::npos) {
      return Failure{"the merge '" + text + "' is not two tokens"};
    }
    RETURN_IF_FAILED(
        add_merge(text.substr(0, space), text.substr(space + 1), rank++));
  }
  return Done{};
}

Status Bpe::add_merge(const std::string& left, const std::string& right,
                      int64_t rank) {
  const auto left_id = vocabulary_.find(left);
  const auto right_id = vocabulary_.find(right);
  const auto merged_id = vocabulary_.find(left + right);
  for (const auto& id : {left_id, right_id, merged_id}) {
    if (id == vocabulary_.end()) {
      return Failure{"the merge '" + left + " " + right +
                     "' has a token that is not in the vocabulary"};
    }
  }
  merges_[{left_id->second, right_id->second}] = {rank, merged_id->second};
  return Done{};
}

void Bpe::encode(std::string_view piece, std::vector<int64_t>& ids) const {
  if (ignore_merges_) {
    const auto whole = ids_by_bytes_.find(std::string(piece));
    if (whole != ids_by_bytes_.end()) {
      ids.push_back(whole->second);
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
    const auto merge = merges_.find({symbols[position].id, symbols[next].id});
    if (merge != merges_.end()) {
      candidates.push({merge->second.rank, position, merge->second.id});
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
    const auto merge = merges_.find({left.id, right.id});
    if (merge == merges_.end() || merge->second.id != best.merged_id) {
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
