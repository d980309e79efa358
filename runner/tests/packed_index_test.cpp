#include "packed_index.h"

#include <string>

#include "check.h"
#include "packed_bytes.h"

namespace {

using namespace ptefoundry;

const std::string kDigest(64, 'a');
const std::string kData(100, 'x');

void refused(const std::string& file, const std::string& reason) {
  const auto count = count_packed_tensors(file);
  CHECK(!count.ok());
  CHECK_CONTAINS(count.ok() ? "" : count.failure().message, reason);
}

TEST(entries_are_counted) {
  CHECK_EQUAL(count_packed_tensors(packed_bytes(kData, {})).value(), 0u);
  const std::string file =
      packed_bytes(kData, {{kDigest, 0, 40}, {std::string(128, 'b'), 40, 60}});
  CHECK_EQUAL(count_packed_tensors(file).value(), 2u);
}

TEST(every_cut_is_noticed) {
  const std::string file =
      packed_bytes(kData, {{kDigest, 0, 40}, {kDigest, 40, 60}});
  for (size_t size = 0; size < file.size(); ++size) {
    CHECK(!count_packed_tensors(file.substr(0, size)).ok());
  }
}

TEST(entries_outside_of_the_file_are_refused) {
  refused(packed_bytes(kData, {{kDigest, 0, 101}}), "outside");
  refused(packed_bytes(kData, {{kDigest, 101, 0}}), "outside");
  refused(packed_bytes(kData, {{kDigest, 50, UINT64_MAX}}), "outside");
}

TEST(names_that_do_not_follow_from_the_contents_are_refused) {
  refused(packed_bytes(kData, {{"layers.0.weight", 0, 4}}), "sha256");
  refused(packed_bytes(kData, {{std::string(64, 'g'), 0, 4}}), "sha256");
  refused(packed_bytes(kData, {{"", 0, 4}}), "sha256");
}

TEST(an_index_that_counts_wrongly_is_refused) {
  std::string file = packed_bytes(kData, {{kDigest, 0, 4}, {kDigest, 4, 4}});
  file[file.size() - 12] = 1;
  refused(file, "more entries");
  file[file.size() - 12] = 3;
  refused(file, "ends within");
}

}  // namespace
