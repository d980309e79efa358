#include "chat_template.h"

#include <nlohmann/json.hpp>

#include "files.h"

namespace ptefoundry {
namespace {

using nlohmann::json;

ChatTurn read_turn(const json& turn) {
  return {turn.at("prefix").get<std::string>(),
          turn.at("suffix").get<std::string>()};
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kWhiteSpace = " \t\n\r\v\f";
  const size_t begin = text.find_first_not_of(kWhiteSpace);
  if (begin == std::string_view::npos) {
    return {};
  }
  return text.substr(begin, text.find_last_not_of(kWhiteSpace) + 1 - begin);
}

}  // namespace

Result<ChatTemplate> read_chat_template(const std::string& directory) {
  const std::string path = directory + "/chat.json";
  ASSIGN_OR_RETURN(const std::string text, read_text_file(path));
  try {
    const json file = json::parse(text);
    const auto version = file.at("format_version").get<int64_t>();
    if (version != 1) {
      return Failure{path + ": format_version is " + std::to_string(version) +
                     ", this runner reads 1; use a runner of the same build"};
    }
    ChatTemplate read;
    read.path = path;
    read.eos_token_ids = file.at("eos_token_ids").get<std::vector<int64_t>>();
    if (file.at("first").is_null()) {
      const json reason = file.value("no_chat", json());
      read.no_chat = reason.is_string() ? reason.get<std::string>() : "";
    } else {
      read.chat = Chat{read_turn(file.at("first")), read_turn(file.at("next")),
                       file.value("trim_user", false)};
    }
    return read;
  } catch (const json::exception& error) {
    return Failure{path + ": not a chat template: " + error.what()};
  }
}

Result<Chat> require_chat(const ChatTemplate& chat_template) {
  if (chat_template.chat.has_value()) {
    return *chat_template.chat;
  }
  return Failure{chat_template.path + ": has no chat (" +
                 chat_template.no_chat + "); prompt without --chat-template"};
}

Result<std::vector<int64_t>> encode_turn(const Tokenizer& tokenizer,
                                         const ChatTurn& turn, bool trim_user,
                                         std::string_view user) {
  if (trim_user) {
    user = trim(user);
  }
  // Encoded as a whole, because a piece of text may merge across the seams.
  const size_t begin = turn.prefix.size();
  return tokenizer.encode_verbatim(
      turn.prefix + std::string(user) + turn.suffix,
      {begin, begin + user.size()});
}

}  // namespace ptefoundry
