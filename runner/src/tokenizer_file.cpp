#include "tokenizer_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "files.h"
#include "json_sequence.h"
#include "unicode.h"

namespace ptefoundry {
namespace {

using nlohmann::json;

Failure unsupported(const char* element, const json& value) {
  return Failure{"the " + std::string(element) + " " + value.dump() +
                 " is not supported"};
}

Result<bool> read_normalizer(const json& spec) {
  bool nfc = false;
  for (const json& element : flatten_sequence(spec, "normalizers")) {
    if (element.at("type") != "NFC") {
      return unsupported("normalizer", element.at("type"));
    }
    nfc = true;
  }
  return nfc;
}

Status check_decoder(const json& spec) {
  const auto decoders = flatten_sequence(spec, "decoders");
  if (decoders.size() != 1 || decoders.front().at("type") != "ByteLevel") {
    return unsupported("decoder", spec);
  }
  return Done{};
}

// The ids around the text that `template` describes.
Status add_template(const json& spec, TokenizerParts& parts) {
  std::vector<int64_t> before;
  std::vector<int64_t> after;
  int sequences = 0;
  for (const json& piece : spec.at("single")) {
    if (piece.contains("Sequence")) {
      ++sequences;
      continue;
    }
    const json& name = piece.at("SpecialToken").at("id");
    const json& token = spec.at("special_tokens").at(name.get<std::string>());
    for (const json& id : token.at("ids")) {
      (sequences == 0 ? before : after).push_back(id.get<int64_t>());
    }
  }
  if (sequences != 1) {
    return unsupported("template", spec.at("single"));
  }
  parts.prefix.insert(parts.prefix.begin(), before.begin(), before.end());
  parts.suffix.insert(parts.suffix.end(), after.begin(), after.end());
  return Done{};
}

Status read_post_processor(const json& spec, TokenizerParts& parts) {
  for (const json& element : flatten_sequence(spec, "processors")) {
    if (element.at("type") == "TemplateProcessing") {
      RETURN_IF_FAILED(add_template(element, parts));
    } else if (element.at("type") != "ByteLevel") {
      return unsupported("post-processor", element.at("type"));
    }
  }
  return Done{};
}

// Hugging Face ignores the ids of added tokens: it takes that of the
// vocabulary, or else the next free one. A file that says otherwise would mean
// different things to different readers.
Status check_added_ids(const std::vector<AddedToken>& tokens,
                       const Vocabulary& vocabulary) {
  auto next = static_cast<int64_t>(vocabulary.size());
  for (const AddedToken& token : tokens) {
    const auto known = vocabulary.find(token.content);
    const int64_t expected = known == vocabulary.end() ? next : known->second;
    if (token.id != expected) {
      return Failure{"the added token '" + token.content + "' has id " +
                     std::to_string(token.id) + ", but counts as " +
                     std::to_string(expected)};
    }
    next = std::max(next, token.id + 1);
  }
  return Done{};
}

// What each id adds to a text.
StringTable read_bytes(const Vocabulary& vocabulary,
                       const std::vector<AddedToken>& added) {
  std::vector<std::string> table;
  size_t total = 0;
  const auto set = [&](int64_t id, std::string_view spelled) {
    table.resize(std::max(table.size(), static_cast<size_t>(id) + 1));
    std::string& bytes = table[static_cast<size_t>(id)];
    bytes = from_byte_alphabet(spelled).value_or(std::string(spelled));
    total += bytes.size();
  };
  for (const auto& [token, id] : vocabulary) {
    set(id, token);
  }
  for (const AddedToken& token : added) {
    // The byte-level decoder also reads added tokens in its alphabet.
    set(token.id, token.special ? "" : token.content);
  }
  StringTable bytes;
  bytes.reserve(table.size(), total);
  for (const std::string& text : table) {
    bytes.push_back(text);
  }
  return bytes;
}

Status read_added(const json& list, const Vocabulary& vocabulary,
                  TokenizerParts& parts) {
  ASSIGN_OR_RETURN(std::vector<AddedToken> tokens, read_added_tokens(list));
  RETURN_IF_FAILED(check_added_ids(tokens, vocabulary));
  parts.bytes_by_id = read_bytes(vocabulary, tokens);
  std::vector<AddedToken> raw;
  std::vector<AddedToken> normalized;
  for (AddedToken& token : tokens) {
    if (token.normalized && parts.nfc) {
      if (token.special) {
        // Where such a token stands in the user's text is lost on the way.
        return Failure{"the normalized special token '" + token.content +
                       "' is not supported together with a normalizer"};
      }
      ASSIGN_OR_RETURN(token.content, normalize_nfc(token.content));
    }
    (token.normalized ? normalized : raw).push_back(token);
  }
  ASSIGN_OR_RETURN(parts.raw_tokens, AddedTokenFinder::create(std::move(raw)));
  ASSIGN_OR_RETURN(parts.normalized_tokens,
                   AddedTokenFinder::create(std::move(normalized)));
  return Done{};
}

Result<TokenizerParts> read_parts(const json& file) {
  for (const char* element : {"truncation", "padding"}) {
    if (!file.value(element, json()).is_null()) {
      return unsupported(element, file.at(element));
    }
  }
  ASSIGN_OR_RETURN(const bool nfc,
                   read_normalizer(file.value("normalizer", json())));
  RETURN_IF_FAILED(check_decoder(file.value("decoder", json())));
  ASSIGN_OR_RETURN(Pretokenizer pretokenizer,
                   Pretokenizer::create(file.value("pre_tokenizer", json())));
  ASSIGN_OR_RETURN(const Vocabulary vocabulary,
                   read_vocabulary(file.at("model")));
  ASSIGN_OR_RETURN(Bpe bpe, Bpe::create(file.at("model"), vocabulary));
  ASSIGN_OR_RETURN(AddedTokenFinder none, AddedTokenFinder::create({}));
  TokenizerParts parts{none,           none, nfc, std::move(pretokenizer),
                       std::move(bpe), {},   {},  {}};
  RETURN_IF_FAILED(read_added(file.value("added_tokens", json::array()),
                              vocabulary, parts));
  RETURN_IF_FAILED(
      read_post_processor(file.value("post_processor", json()), parts));
  return parts;
}

}  // namespace

Result<TokenizerParts> read_tokenizer_file(const std::string& directory) {
  const std::string path = directory + "/tokenizer.json";
  ASSIGN_OR_RETURN(std::string text, read_text_file(path));
  try {
    const json file = json::parse(text);
    std::string().swap(text);  // megabytes that nobody needs from here on
    auto parts = read_parts(file);
    if (!parts.ok()) {
      return Failure{path + ": " + parts.failure().message};
    }
    return parts;
  } catch (const json::exception& error) {
    return Failure{path + ": not a tokenizer of Hugging Face `tokenizers`: " +
                   error.what()};
  }
}

}  // namespace ptefoundry
