#include "check.h"

#include <iostream>
#include <utility>
#include <vector>

namespace check {
namespace {

std::vector<std::pair<const char*, void (*)()>>& cases() {
  static std::vector<std::pair<const char*, void (*)()>> all;
  return all;
}

int failures = 0;

}  // namespace

Case::Case(const char* name, void (*run)()) { cases().emplace_back(name, run); }

void report(const char* file, int line, const std::string& what) {
  ++failures;
  std::cerr << file << ":" << line << ": " << what << "\n";
}

}  // namespace check

int main() {
  for (const auto& [name, run] : check::cases()) {
    const int before = check::failures;
    run();
    std::cout << (check::failures == before ? "passed " : "FAILED ") << name
              << "\n";
  }
  return check::failures == 0 ? 0 : 1;
}
