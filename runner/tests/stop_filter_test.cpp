#include "stop_filter.h"

#include <string>
#include <vector>

#include "check.h"

namespace {

using namespace ptefoundry;

// What comes out of a text that goes in byte by byte.
std::string filter(StopFilter& filter, const std::string& text) {
  std::string out;
  for (const char byte : text) {
    out += filter.feed(std::string(1, byte));
  }
  return out + filter.finish();
}

TEST(a_text_without_a_stop_comes_out_whole) {
  StopFilter none({});
  CHECK_EQUAL(filter(none, "ababac"), std::string("ababac"));
  StopFilter other({"abad", "x"});
  CHECK_EQUAL(filter(other, "ababac aba"), std::string("ababac aba"));
  CHECK(!other.found());
}

TEST(a_text_ends_before_the_first_stop) {
  StopFilter overlapping({"abac"});
  CHECK_EQUAL(filter(overlapping, "ababacab"), std::string("ab"));
  CHECK(overlapping.found());
  StopFilter several({"yy", "b\n"});
  CHECK_EQUAL(filter(several, "aaab\nyy"), std::string("aaa"));
  StopFilter whole({"zz", "c"});
  CHECK_EQUAL(whole.feed("abc zz"), std::string("ab"));
}

TEST(only_what_could_become_a_stop_is_held_back) {
  StopFilter held({"END"});
  CHECK_EQUAL(held.feed("the E"), std::string("the "));
  CHECK_EQUAL(held.feed("NT"), std::string("ENT"));
  CHECK_EQUAL(held.feed("EN"), std::string(""));
  CHECK_EQUAL(held.finish(), std::string("EN"));
}

}  // namespace
