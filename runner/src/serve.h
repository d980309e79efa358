// The line protocol of --serve-stdio; docs/serve-stdio.md describes it.
#pragma once

#include <istream>
#include <ostream>

#include "result.h"
#include "runner.h"

namespace ptefoundry {

// Answers requests of `in` one after the other until one asks to quit or `in`
// ends. Whatever is wrong with a request is a record; only output that cannot
// be written is a failure.
Status serve(Runner& runner, const Options& options, std::istream& in,
             std::ostream& out);

}  // namespace ptefoundry
