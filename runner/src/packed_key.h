// Names for packed weights by what they were made from.
#pragma once

#include <string>
#include <vector>

namespace ptefoundry {

// What decides how weights are laid out, and which ones.
struct PackedOrigin {
  std::string backend;  // identifies the build of the library that packs
  std::string cpu;      // as describe_cpu() has it
  // Of each data file. They name tensors by their sha256, so that nobody has to
  // read the contents.
  std::vector<std::string> indices;
};

// Differs where anything of the origin does.
std::string packed_key(const PackedOrigin& origin);

}  // namespace ptefoundry
