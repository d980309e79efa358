#include "error_log.h"

#include <executorch/runtime/platform/platform.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

namespace ptefoundry {
namespace {

// The runtime's log hook takes no context, so its state is the process's.
std::mutex log_mutex;
bool log_verbose = false;
std::vector<std::string> log_errors;

// A cascade repeats itself on the way up; its first lines name the cause.
constexpr size_t kMaxErrors = 3;

// The backend wants to write to the file of packed weights, which is locked
// against that on purpose, and goes on without.
bool is_expected(const char* message) {
  return std::strncmp(message, "flock(", 6) == 0;
}

void keep_log_message(et_timestamp_t, et_pal_log_level_t level,
                      const char* filename, const char*, size_t line,
                      const char* message, size_t) {
  const std::lock_guard<std::mutex> lock(log_mutex);
  const bool is_error =
      level == et_pal_log_level_t::kError && !is_expected(message);
  if (is_error && log_errors.size() < kMaxErrors) {
    log_errors.emplace_back(message);
  }
  if (level == et_pal_log_level_t::kFatal) {
    log_errors.assign(1, message);
  }
  if (log_verbose) {
    std::fprintf(stderr, "[executorch %c %s:%zu] %s\n", level, filename, line,
                 message);
  }
}

// The runtime asserts what it takes for granted in a sound file.
void report_abort() {
  std::fprintf(
      stderr,
      "ptefoundry-runner: error: ExecuTorch gave up (%s); a program or "
      "data file is damaged or not made for this ExecuTorch, build it "
      "again\n",
      runtime_errors().c_str());
  std::_Exit(1);
}

}  // namespace

void capture_runtime_log(bool verbose) {
  {
    const std::lock_guard<std::mutex> lock(log_mutex);
    log_verbose = verbose;
  }
  executorch::runtime::PalImpl hooks =
      executorch::runtime::PalImpl::create(keep_log_message, __FILE__);
  hooks.abort = report_abort;
  executorch::runtime::register_pal(hooks);
}

void forget_runtime_errors() {
  const std::lock_guard<std::mutex> lock(log_mutex);
  log_errors.clear();
}

std::string runtime_errors() {
  const std::lock_guard<std::mutex> lock(log_mutex);
  std::string joined;
  for (const std::string& error : log_errors) {
    joined += (joined.empty() ? "" : "; ") + error;
  }
  return joined;
}

}  // namespace ptefoundry
