#include "packed_key.h"

#include <set>
#include <string>
#include <vector>

#include "check.h"

namespace {

using ptefoundry::packed_key;
using ptefoundry::PackedOrigin;

const PackedOrigin kOrigin = {"library", "cpu\n", {"one", "two"}};

TEST(equal_origins_have_equal_keys) {
  CHECK_EQUAL(packed_key(kOrigin), packed_key(PackedOrigin(kOrigin)));
}

TEST(another_library_processor_or_foundation_has_another_key) {
  std::vector<PackedOrigin> origins(6, kOrigin);
  origins[1].backend = "another build";
  origins[2].cpu = "another\n";
  origins[3].indices = {"one"};
  origins[4].indices = {"one", "other"};
  origins[5].indices = {"two", "one"};
  std::set<std::string> keys;
  for (const PackedOrigin& origin : origins) {
    keys.insert(packed_key(origin));
  }
  CHECK_EQUAL(keys.size(), origins.size());
}

}  // namespace
