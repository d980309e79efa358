#include "checksum.h"

#include <string>

#include "check.h"

namespace {

using namespace ptefoundry;

TEST(checksums_are_those_of_xxh64) {
  CHECK_EQUAL(to_hex(checksum("")), std::string("ef46db3751d8e999"));
  CHECK_EQUAL(to_hex(checksum("a")), std::string("d24ec4f1a98c6e5b"));
  CHECK_EQUAL(to_hex(checksum("abc")), std::string("44bc2cf5ad770999"));
  CHECK_EQUAL(to_hex(checksum("The quick brown fox jumps over the lazy dog")),
              std::string("0b242d361fda71bc"));
}

TEST(every_byte_counts) {
  std::string bytes(77, 'x');
  const uint64_t before = checksum(bytes);
  for (char& byte : bytes) {
    byte ^= 1;
    CHECK(checksum(bytes) != before);
    byte ^= 1;
  }
  CHECK(checksum(bytes + 'x') != before);
}

}  // namespace
