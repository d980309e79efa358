// Which kind of processor this is.
#pragma once

#include <istream>
#include <string>

namespace ptefoundry {

// The same text on processors that the operating system describes alike:
// architecture, models of the cores and what their instruction sets have.
std::string describe_cpu();

// Of a machine by its architecture and its /proc/cpuinfo.
std::string describe_cpu(const std::string& machine, std::istream& cpuinfo);

}  // namespace ptefoundry
