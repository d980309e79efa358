#include "cpu.h"

#include <sys/utsname.h>

#include <fstream>
#include <set>

namespace ptefoundry {
namespace {

// Lines of /proc/cpuinfo that a kernel is chosen by, on x86 and on Arm.
const std::set<std::string> kTelling = {
    "vendor_id",       "cpu family", "model",       "model name", "flags",
    "CPU implementer", "CPU part",   "CPU variant", "Features"};

std::string name_of(const std::string& line) {
  const size_t end = line.find_last_not_of(" \t", line.find(':') - 1);
  return line.substr(0, end + 1);
}

}  // namespace

std::string describe_cpu() {
  utsname system = {};
  uname(&system);
  std::ifstream stream("/proc/cpuinfo");
  return describe_cpu(system.machine, stream);
}

std::string describe_cpu(const std::string& machine, std::istream& cpuinfo) {
  std::set<std::string> lines;  // cores of one kind repeat them
  std::string line;
  while (std::getline(cpuinfo, line)) {
    if (line.find(':') != std::string::npos && kTelling.count(name_of(line))) {
      lines.insert(line);
    }
  }
  std::string description = machine + "\n";
  for (const std::string& telling : lines) {
    description += telling + "\n";
  }
  return description;
}

}  // namespace ptefoundry
