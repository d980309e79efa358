#include "separate_process.h"

#include <csignal>
#include <cstdio>
#include <stdexcept>
#include <string>

#include "check.h"
#include "files.h"

namespace {

using namespace ptefoundry;

TEST(what_the_work_returns_comes_back) {
  const std::string path = check::temporary_directory() + "/made";
  CHECK(run_separately([&] { return write_file(path, "x", 1); }).ok());
  CHECK_EQUAL(read_text_file(path).value(), std::string("x"));
  const std::string message(100000, 'm');  // more than a pipe holds
  const Status failed =
      run_separately([&]() -> Status { return Failure{message}; });
  CHECK(!failed.ok() && failed.failure().message == message);
}

TEST(work_that_dies_is_a_failure) {
  const Status killed = run_separately([]() -> Status {
    std::raise(SIGBUS);
    return Done{};
  });
  CHECK(!killed.ok());
  CHECK_CONTAINS(killed.failure().message, "signal " + std::to_string(SIGBUS));
  const Status thrown =
      run_separately([]() -> Status { throw std::runtime_error("no memory"); });
  CHECK(!thrown.ok());
  CHECK_CONTAINS(thrown.failure().message, "no memory");
  CHECK(!run_separately([]() -> Status { std::_Exit(3); }).ok());
}

}  // namespace
