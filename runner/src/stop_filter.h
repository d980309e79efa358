// Ends a text before the first of some stop texts.
#pragma once

#include <string>
#include <vector>

namespace ptefoundry {

class StopFilter {
 public:
  // None of them is empty.
  explicit StopFilter(std::vector<std::string> stops)
      : stops_(std::move(stops)) {}

  // The text that no stop can begin in any more; nothing once one was found.
  std::string feed(const std::string& text);

  // What was held back, at the end of the text.
  std::string finish();

  bool found() const { return found_; }

 private:
  size_t find_stop() const;
  size_t find_possible_stop() const;

  std::vector<std::string> stops_;
  std::string pending_;
  bool found_ = false;
};

}  // namespace ptefoundry
