#include "serve.h"

#include <nlohmann/json.hpp>

#include "report.h"
#include "request_queue.h"

namespace ptefoundry {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kProtocol = 1;

Json describe_slot(const ProgramSlot& slot) {
  Json entry = {{"name", slot.name},
                {"program", slot.path},
                {"loaded", slot.loaded != nullptr}};
  if (slot.loaded != nullptr) {
    const ModelInfo& info = slot.loaded->program->info();
    entry["load_s"] = slot.loaded->load_s;
    entry["context"] = info.max_context_len;
    entry["history_tokens"] = slot.loaded->history.tokens().size();
  }
  return entry;
}

class Server {
 public:
  Server(Runner& runner, std::ostream& out) : runner_(runner), out_(out) {}

  void greet() {
    write({{"op", "ready"},
           {"protocol", kProtocol},
           {"adapters", adapters()},
           {"packed_cache", packed_cache_report(runner_.packed_cache())}});
  }

  // False once a request asks to quit.
  bool handle(const QueuedRequest& queued) {
    id_ = queued.line.id;
    if (!queued.line.request.ok()) {
      write_error(queued.line.request.failure());
      return true;
    }
    const Request& request = queued.line.request.value();
    const Status handled = carry_out(request, queued);
    if (!handled.ok()) {
      write_error(handled.failure());
    }
    return request.op != Op::kQuit;
  }

  bool broken() const { return !out_; }

 private:
  Status carry_out(const Request& request, const QueuedRequest& queued) {
    switch (request.op) {
      case Op::kGenerate:
        return generate(request, queued);
      case Op::kLoad:
        return load(request);
      case Op::kUnload:
        return unload(request);
      case Op::kCancel:
        return Failure{"no request of this id is waiting or answered now"};
      case Op::kList:
        write(answered(request, {{"adapters", adapters()}}));
        return Done{};
      case Op::kStats:
        write(answered(request, stats()));
        return Done{};
      case Op::kQuit:
        write(answered(request, Json::object()));
        return Done{};
    }
    return Done{};
  }

  Status load(const Request& request) {
    const std::string name = adapter_of(request);
    const bool resident = runner_.programs().is_loaded(name);
    ASSIGN_OR_RETURN(const LoadedProgram* const program,
                     runner_.programs().get(name));
    write(answered(request, {{"adapter", name},
                             {"load_s", resident ? 0.0 : program->load_s},
                             {"memory", memory_report(read_memory_use())}}));
    return Done{};
  }

  Status unload(const Request& request) {
    const std::string name = adapter_of(request);
    RETURN_IF_FAILED(runner_.programs().unload(name));
    write(answered(request, {{"adapter", name},
                             {"memory", memory_report(read_memory_use())}}));
    return Done{};
  }

  Json adapters() const {
    Json list = Json::array();
    for (const ProgramSlot& slot : runner_.programs().slots()) {
      list.push_back(describe_slot(slot));
    }
    return list;
  }

  Json stats() const {
    return {{"requests", requests_},
            {"prompt_tokens", prompt_tokens_},
            {"new_tokens", new_tokens_},
            {"memory", memory_report(read_memory_use())},
            {"packed_cache", packed_cache_report(runner_.packed_cache())},
            {"adapters", adapters()}};
  }

  Status generate(const Request& request, const QueuedRequest& queued) {
    const std::string name = adapter_of(request);
    ASSIGN_OR_RETURN(const std::vector<int64_t> tokens, encode(request));
    const bool resident = runner_.programs().is_loaded(name);
    if (queued.cancelled) {
      write({{"id", id_},
             {"done", true},
             {"adapter", name},
             {"finish_reason", to_string(FinishReason::kCancelled)},
             {"tokens", Json::array()}});
      return Done{};
    }
    ASSIGN_OR_RETURN(LoadedProgram* const program,
                     runner_.programs().get(name));
    if (!request.reuse) {
      program->history.keep_common({});
    }
    Sampler sampler(request.sampling);
    AnswerOptions options = request.answer;
    options.cancelled = [&] { return queued.cancelled || broken(); };
    ASSIGN_OR_RETURN(
        const Answer answer,
        runner_.continue_history(*program, sampler, tokens, options,
                                 [&](const std::string& text) {
                                   write({{"id", id_}, {"text", text}});
                                 }));
    ++requests_;
    prompt_tokens_ += tokens.size();
    new_tokens_ += answer.generation.tokens.size();
    Json record = {{"id", id_}, {"done", true}, {"adapter", name}};
    record["prompt_tokens"] = tokens.size();
    record["load_s"] = resident ? 0.0 : program->load_s;
    record.update(generation_report(answer.generation));
    write(record);
    return Done{};
  }

  Result<std::vector<int64_t>> encode(const Request& request) const {
    if (request.prompt.has_value()) {
      return runner_.encode(*request.prompt);
    }
    ASSIGN_OR_RETURN(const Chat chat, runner_.chat());
    std::vector<int64_t> tokens;
    for (const Message& message : request.messages) {
      const auto& turn = tokens.empty() ? chat.first : chat.next;
      ASSIGN_OR_RETURN(const std::vector<int64_t> ids,
                       message.user ? runner_.encode_turn(turn, message.content)
                                    : runner_.encode_literal(message.content));
      tokens.insert(tokens.end(), ids.begin(), ids.end());
    }
    return tokens;
  }

  std::string adapter_of(const Request& request) const {
    return request.adapter.empty() ? runner_.programs().slots().front().name
                                   : request.adapter;
  }

  Json answered(const Request& request, const Json& fields) const {
    Json record = {{"id", id_}, {"op", to_string(request.op)}};
    record.update(fields);
    return record;
  }

  void write_error(const Failure& failure) {
    write({{"id", id_}, {"error", failure.message}});
  }

  void write(const Json& record) {
    out_ << record.dump(-1, ' ', /*ensure_ascii=*/false,
                        Json::error_handler_t::replace)
         << std::endl;
  }

  Runner& runner_;
  std::ostream& out_;
  nlohmann::json id_;  // of the request that is answered now
  uint64_t requests_ = 0;
  uint64_t prompt_tokens_ = 0;
  uint64_t new_tokens_ = 0;
};

}  // namespace

Status serve(Runner& runner, const Options& options, std::istream& in,
             std::ostream& out) {
  Server server(runner, out);
  server.greet();
  RequestQueue queue(in, options);
  while (!server.broken()) {
    const auto request = queue.next();
    if (request == nullptr || !server.handle(*request)) {
      break;
    }
  }
  return Done{};  // main reports output that could not be written
}

}  // namespace ptefoundry
