#include "unicode.h"

#include <string>
#include <vector>

#include "check.h"

namespace {

using namespace ptefoundry;

TEST(valid_text_has_no_invalid_byte) {
  for (const char* text : {"", "a", "é", "€", "😀", "\xF4\x8F\xBF\xBF"}) {
    CHECK_EQUAL(find_invalid_utf8(text), std::string_view::npos);
  }
}

TEST(the_first_invalid_byte_is_found) {
  CHECK_EQUAL(find_invalid_utf8("ab\x80"), 2u);
  CHECK_EQUAL(find_invalid_utf8("\xC0\xAF"), 0u);          // overlong
  CHECK_EQUAL(find_invalid_utf8("a\xED\xA0\x80"), 1u);     // surrogate
  CHECK_EQUAL(find_invalid_utf8("\xF4\x90\x80\x80"), 0u);  // beyond U+10FFFF
  CHECK_EQUAL(find_invalid_utf8("ab\xE2\x82"), 2u);        // cut short
}

TEST(code_points_survive_encoding) {
  for (const char32_t c :
       {0x0, 0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x10000, 0x10FFFF}) {
    std::string text;
    append_utf8(c, text);
    size_t offset = 0;
    CHECK(next_code_point(text, offset) == c);
    CHECK_EQUAL(offset, text.size());
  }
}

TEST(normalization_composes) {
  CHECK_EQUAL(normalize_nfc("e\u0301").value(), std::string("é"));
  CHECK_EQUAL(normalize_nfc("\u212B").value(), std::string("\u00C5"));
  CHECK_EQUAL(normalize_nfc("a\u0301\u0323").value(),
              std::string("\u1EA1\u0301"));
}

TEST(marks_newer_than_unicode_10_stay_where_they_are) {
  const std::string text = "a\u0301\u0898\u0323";
  CHECK_EQUAL(normalize_nfc(text).value(), std::string("\u00E1\u0898\u0323"));
}

TEST(a_stream_holds_back_unfinished_text) {
  Utf8Stream stream;
  CHECK_EQUAL(stream.feed("a\xF0\x9F"), std::string("a"));
  CHECK_EQUAL(stream.feed("\x98"), std::string());
  CHECK_EQUAL(stream.feed("\x80"
                          "b"),
              std::string("😀b"));
  CHECK_EQUAL(stream.finish(), std::string());
}

TEST(a_stream_replaces_what_cannot_be_text) {
  Utf8Stream stream;
  CHECK_EQUAL(stream.feed("\xFF"
                          "a\xE2\x82z"),
              std::string("\uFFFDa\uFFFDz"));
  CHECK_EQUAL(stream.feed("\xE2\x82"), std::string());
  CHECK_EQUAL(stream.finish(), std::string("\uFFFD"));
}

}  // namespace
