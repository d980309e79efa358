#include "stop_filter.h"

#include <algorithm>
#include <utility>

namespace ptefoundry {

std::string StopFilter::feed(const std::string& text) {
  if (found_) {
    return "";
  }
  pending_ += text;
  const size_t stop = find_stop();
  found_ = stop != std::string::npos;
  const size_t length = found_ ? stop : find_possible_stop();
  std::string safe = pending_.substr(0, length);
  pending_.erase(0, length);
  return safe;
}

std::string StopFilter::finish() {
  return found_ ? "" : std::exchange(pending_, "");
}

// Where the first stop text begins.
size_t StopFilter::find_stop() const {
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    first = std::min(first, pending_.find(stop));
  }
  return first;
}

// Where an unfinished stop text begins, else the end.
size_t StopFilter::find_possible_stop() const {
  for (size_t start = 0; start < pending_.size(); ++start) {
    const size_t length = pending_.size() - start;
    for (const std::string& stop : stops_) {
      if (stop.size() > length &&
          stop.compare(0, length, pending_, start, length) == 0) {
        return start;
      }
    }
  }
  return pending_.size();
}

}  // namespace ptefoundry
