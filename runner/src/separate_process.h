// Work that may kill its process.
#pragma once

#include <functional>

#include "result.h"

namespace ptefoundry {

// Does the work in a copy of this process, without its standard streams, and
// returns what it returned, or that it died. Call it before there are threads.
Status run_separately(const std::function<Status()>& work);

}  // namespace ptefoundry
