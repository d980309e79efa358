// Requests that are read while others are answered.
#pragma once

#include <atomic>
#include <istream>
#include <memory>
#include <nlohmann/json.hpp>

#include "request.h"

namespace ptefoundry {

// A request in the order of arrival, and whether it was cancelled since.
struct QueuedRequest {
  explicit QueuedRequest(ParsedLine line) : line(std::move(line)) {}

  const ParsedLine line;
  std::atomic<bool> cancelled = false;
};

class RequestQueue {
 public:
  // Starts to read lines in a thread. It ends with `in` or with a request to
  // quit; until then `in` has to live, also after this.
  RequestQueue(std::istream& in, const Options& options);

  // Waits for the next request; null at the end. A request to cancel never
  // comes out, unless there was nothing to cancel.
  std::shared_ptr<QueuedRequest> next();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace ptefoundry
