// A chat template, rendered at build time into plain text around the user's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "result.h"
#include "tokenizer.h"

namespace ptefoundry {

struct ChatTurn {
  std::string prefix;
  std::string suffix;
};

// What stands around the user's texts of a conversation.
struct Chat {
  ChatTurn first;
  ChatTurn next;   // its prefix starts by closing the assistant's turn
  bool trim_user;  // ASCII white space around the user's text goes
};

// chat.json of a tokenizer directory.
struct ChatTemplate {
  std::string path;
  std::optional<Chat> chat;
  std::string no_chat;  // why there is none
  std::vector<int64_t> eos_token_ids;
};

Result<ChatTemplate> read_chat_template(const std::string& directory);

// Fails on a template that cannot be put into plain pieces, saying why.
Result<Chat> require_chat(const ChatTemplate& chat_template);

// The ids of a turn up to where the assistant answers. Special tokens are
// recognised in the template only, never in the user's text.
Result<std::vector<int64_t>> encode_turn(const Tokenizer& tokenizer,
                                         const ChatTurn& turn, bool trim_user,
                                         std::string_view user);

}  // namespace ptefoundry
