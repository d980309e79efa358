// A conversation, with one program at a time.
#pragma once

#include <istream>
#include <ostream>

#include "result.h"
#include "runner.h"

namespace ptefoundry {

// Reads one turn per line until /exit or the end of `in`. `/adapter NAME`
// switches to another program, which then knows the conversation (with --clear
// it does not), `/adapters` lists them, `/clear` (or `/reset`) starts a new
// conversation; other lines with a slash are refused, and one that begins with
// two is a message that begins with one. Answers go to `out`, everything else
// to `notes`. A line that cannot be followed is refused, the conversation goes
// on, and the whole counts as a failure.
Status run_chat(Runner& runner, const Options& options, std::istream& in,
                std::ostream& out, std::ostream& notes);

}  // namespace ptefoundry
