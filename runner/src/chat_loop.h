// A conversation with one program.
#pragma once

#include <istream>
#include <ostream>

#include "result.h"
#include "runner.h"

namespace ptefoundry {

// Reads one turn per line until /exit or the end of `in`; /reset starts a new
// conversation. Answers go to `out`, everything else to `notes`. A turn that
// does not fit is refused, the conversation goes on, and the whole counts as a
// failure.
Status run_chat(const Runner& runner, const Options& options, std::istream& in,
                std::ostream& out, std::ostream& notes);

}  // namespace ptefoundry
