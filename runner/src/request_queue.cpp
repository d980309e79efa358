#include "request_queue.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

namespace ptefoundry {
namespace {

// Far above what fits into any context; a longer line is not kept in memory.
constexpr size_t kMaxLineBytes = size_t{16} << 20;

struct Line {
  std::string text;
  bool too_long = false;
};

std::optional<Line> read_line(std::istream& in) {
  Line line;
  bool any = false;
  for (int byte = in.get(); byte != std::istream::traits_type::eof();
       byte = in.get()) {
    any = true;
    if (byte == '\n') {
      return line;
    }
    line.too_long = line.too_long || line.text.size() == kMaxLineBytes;
    if (!line.too_long) {
      line.text.push_back(static_cast<char>(byte));
    }
  }
  return any ? std::optional(line) : std::nullopt;
}

bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t\r") == std::string::npos;
}

ParsedLine parse_line(const Line& line, const Options& options) {
  if (line.too_long) {
    return {
        nlohmann::json(),
        Failure{"expected a line of at most " + std::to_string(kMaxLineBytes) +
                " bytes, found a longer one; shorten the request"}};
  }
  return parse_request(line.text, options);
}

bool is_op(const ParsedLine& line, Op op) {
  return line.request.ok() && line.request.value().op == op;
}

}  // namespace

struct RequestQueue::State {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::shared_ptr<QueuedRequest>> waiting;
  std::shared_ptr<QueuedRequest> running;
  bool ended = false;

  // True if there was a request of that id.
  bool cancel(const nlohmann::json& id) {
    const auto is_meant = [&](const std::shared_ptr<QueuedRequest>& request) {
      return request != nullptr && request->line.id == id &&
             is_op(request->line, Op::kGenerate);
    };
    bool found = is_meant(running);
    if (found) {
      running->cancelled = true;
    }
    for (const auto& request : waiting) {
      if (is_meant(request)) {
        request->cancelled = true;
        found = true;
      }
    }
    return found;
  }

  void add(ParsedLine line) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (is_op(line, Op::kCancel) && cancel(line.id)) {
      return;
    }
    waiting.push_back(std::make_shared<QueuedRequest>(std::move(line)));
    changed.notify_one();
  }

  void end() {
    const std::lock_guard<std::mutex> lock(mutex);
    ended = true;
    changed.notify_one();
  }

  void read(std::istream& in, const Options& options) {
    while (const auto line = read_line(in)) {
      if (is_blank(line->text) && !line->too_long) {
        continue;
      }
      ParsedLine parsed = parse_line(*line, options);
      const bool quits = is_op(parsed, Op::kQuit);
      add(std::move(parsed));
      if (quits) {
        break;
      }
    }
    end();
  }
};

RequestQueue::RequestQueue(std::istream& in, const Options& options)
    : state_(std::make_shared<State>()) {
  std::thread([state = state_, &in, options] {
    state->read(in, options);
  }).detach();
}

std::shared_ptr<QueuedRequest> RequestQueue::next() {
  std::unique_lock<std::mutex> lock(state_->mutex);
  state_->running = nullptr;
  state_->changed.wait(
      lock, [&] { return state_->ended || !state_->waiting.empty(); });
  if (!state_->waiting.empty()) {
    state_->running = state_->waiting.front();
    state_->waiting.pop_front();
  }
  return state_->running;
}

}  // namespace ptefoundry
