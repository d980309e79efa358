#include "checksum.h"

#include <array>
#include <cstring>

namespace ptefoundry {
namespace {

constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87;
constexpr uint64_t kPrime2 = 0xC2B2AE3D27D4EB4F;
constexpr uint64_t kPrime3 = 0x165667B19E3779F9;
constexpr uint64_t kPrime4 = 0x85EBCA77C2B2AE63;
constexpr uint64_t kPrime5 = 0x27D4EB2F165667C5;

using Lanes = std::array<uint64_t, 4>;
constexpr size_t kStripe = sizeof(Lanes);

constexpr uint64_t rotate(uint64_t value, int bits) {
  return value << bits | value >> (64 - bits);
}

template <typename T>
uint64_t take(std::string_view& bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes.remove_prefix(sizeof(T));
  return value;
}

constexpr uint64_t mix(uint64_t lane, uint64_t input) {
  return rotate(lane + input * kPrime2, 31) * kPrime1;
}

// Consumes whole stripes.
uint64_t hash_stripes(std::string_view& bytes) {
  Lanes lanes = {kPrime1 + kPrime2, kPrime2, 0, -kPrime1};
  while (bytes.size() >= kStripe) {
    for (uint64_t& lane : lanes) {
      lane = mix(lane, take<uint64_t>(bytes));
    }
  }
  uint64_t hash = rotate(lanes[0], 1) + rotate(lanes[1], 7) +
                  rotate(lanes[2], 12) + rotate(lanes[3], 18);
  for (const uint64_t lane : lanes) {
    hash = (hash ^ mix(0, lane)) * kPrime1 + kPrime4;
  }
  return hash;
}

uint64_t hash_rest(uint64_t hash, std::string_view bytes) {
  while (bytes.size() >= sizeof(uint64_t)) {
    hash ^= mix(0, take<uint64_t>(bytes));
    hash = rotate(hash, 27) * kPrime1 + kPrime4;
  }
  if (bytes.size() >= sizeof(uint32_t)) {
    hash ^= take<uint32_t>(bytes) * kPrime1;
    hash = rotate(hash, 23) * kPrime2 + kPrime3;
  }
  while (!bytes.empty()) {
    hash ^= take<uint8_t>(bytes) * kPrime5;
    hash = rotate(hash, 11) * kPrime1;
  }
  return hash;
}

uint64_t avalanche(uint64_t hash) {
  hash = (hash ^ hash >> 33) * kPrime2;
  hash = (hash ^ hash >> 29) * kPrime3;
  return hash ^ hash >> 32;
}

}  // namespace

uint64_t checksum(std::string_view bytes) {
  const uint64_t size = bytes.size();
  const uint64_t start = size >= kStripe ? hash_stripes(bytes) : kPrime5;
  return avalanche(hash_rest(start + size, bytes));
}

std::string to_hex(uint64_t value) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text(16, '0');
  for (size_t i = text.size(); i-- > 0; value >>= 4) {
    text[i] = kDigits[value & 15];
  }
  return text;
}

}  // namespace ptefoundry
