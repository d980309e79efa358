// What ExecuTorch logs: kept for our error messages, shown only if asked for.
#pragma once

#include <string>

namespace ptefoundry {

// Takes over the runtime's log output for the whole process. With `verbose`
// every line also goes to stderr. Should the runtime abort, the process says so
// and exits with status 1.
void capture_runtime_log(bool verbose);

// Drops the error lines kept so far; call before an operation that may fail.
void forget_runtime_errors();

// The error lines since then, oldest first, joined by "; ". May be empty.
std::string runtime_errors();

}  // namespace ptefoundry
