// Which kind of processor this is.
#pragma once

#include <string>

namespace ptefoundry {

// The same text on processors that the operating system describes alike:
// architecture, models of the cores and what their instruction sets have.
std::string describe_cpu();

}  // namespace ptefoundry
