// A minimal test harness: TEST defines a case, CHECK records what failed.
#pragma once

#include <sstream>
#include <string>

namespace check {

struct Case {
  Case(const char* name, void (*run)());
};

// A new directory of this process.
std::string temporary_directory();

void report(const char* file, int line, const std::string& what);

template <typename A, typename B>
void equal(const char* file, int line, const char* expression, const A& found,
           const B& expected) {
  if (!(found == expected)) {
    std::ostringstream what;
    what << expression << ": found " << found << ", expected " << expected;
    report(file, line, what.str());
  }
}

}  // namespace check

#define TEST(name)                                   \
  static void name();                                \
  static const check::Case name##_case(#name, name); \
  static void name()

#define CHECK(condition)                             \
  do {                                               \
    if (!(condition)) {                              \
      check::report(__FILE__, __LINE__, #condition); \
    }                                                \
  } while (false)

#define CHECK_EQUAL(found, expected) \
  check::equal(__FILE__, __LINE__, #found, found, expected)

#define CHECK_CONTAINS(text, part)                                        \
  do {                                                                    \
    const std::string text_ = (text);                                     \
    if (text_.find(part) == std::string::npos) {                          \
      check::report(__FILE__, __LINE__, text_ + " lacks '" + part + "'"); \
    }                                                                     \
  } while (false)
