// XXH64, the 64-bit xxHash: finds damage at the speed of memory. It is no
// protection against somebody who wants two contents to look alike.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ptefoundry {

// XXH64 with seed 0.
uint64_t checksum(std::string_view bytes);

// 16 lower-case hexadecimal digits.
std::string to_hex(uint64_t value);

}  // namespace ptefoundry
