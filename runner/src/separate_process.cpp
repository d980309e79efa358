#include "separate_process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <string>

#include "file_handle.h"

namespace ptefoundry {
namespace {

Status run_guarded(const std::function<Status()>& work) {
  try {
    return work();
  } catch (const std::exception& error) {
    return Failure{std::string("stopped by ") + error.what()};
  }
}

void write_all(int descriptor, const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t count =
        write(descriptor, text.data() + done, text.size() - done);
    if (count < 0 && errno != EINTR) {
      return;  // Nobody listens any more.
    }
    done += count > 0 ? static_cast<size_t>(count) : 0;
  }
}

std::string read_all(int descriptor) {
  std::string text;
  char buffer[4096];
  while (true) {
    const ssize_t count = read(descriptor, buffer, sizeof(buffer));
    if (count > 0) {
      text.append(buffer, static_cast<size_t>(count));
    } else if (count == 0 || errno != EINTR) {
      return text;
    }
  }
}

[[noreturn]] void run_in_child(const std::function<Status()>& work,
                               int answer) {
  const int nothing = open("/dev/null", O_RDWR);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    dup2(nothing, stream);
  }
  const Status outcome = run_guarded(work);
  if (!outcome.ok()) {
    write_all(answer, outcome.failure().message);
  }
  _exit(outcome.ok() ? 0 : 1);
}

Failure describe_death(int status, const std::string& message) {
  if (!message.empty()) {
    return Failure{message};
  }
  if (WIFSIGNALED(status)) {
    return Failure{"the process that packs them was killed by signal " +
                   std::to_string(WTERMSIG(status)) +
                   " (a full disk does that)"};
  }
  return Failure{
      "the process that packs them gave up; run with "
      "--no-packed-cache --verbose to see why"};
}

}  // namespace

Status run_separately(const std::function<Status()>& work) {
  int ends[2];
  if (pipe(ends) != 0) {
    return Failure{std::string("cannot make a pipe: ") + std::strerror(errno)};
  }
  const FileHandle answer(ends[0]);
  pid_t child;
  {
    const FileHandle question(ends[1]);
    child = fork();
    if (child == 0) {
      run_in_child(work, question.descriptor());
    }
  }
  if (child < 0) {
    return Failure{std::string("cannot start a process: ") +
                   std::strerror(errno)};
  }
  const std::string message = read_all(answer.descriptor());
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    return Done{};
  }
  return describe_death(status, message);
}

}  // namespace ptefoundry
