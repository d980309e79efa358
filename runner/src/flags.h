// What the command line may say.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "options.h"
#include "result.h"

namespace ptefoundry {

struct Flag {
  const char* name;
  const char* value;  // what to call it in the help; null for a switch
  const char* help;
  std::function<Status(Options&, const std::string&)> apply;
};

// In the order of the help.
const std::vector<Flag>& flags();

}  // namespace ptefoundry
