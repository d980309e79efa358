#include "packed_key.h"

#include "checksum.h"

namespace ptefoundry {

std::string packed_key(const PackedOrigin& origin) {
  std::string identity = origin.backend + "\n" + origin.cpu;
  for (const std::string& index : origin.indices) {
    identity += to_hex(checksum(index)) + "\n";
  }
  return to_hex(checksum(identity));
}

}  // namespace ptefoundry
