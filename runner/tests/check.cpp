#include "check.h"

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <utility>
#include <vector>

namespace check {
namespace {

std::vector<std::pair<const char*, void (*)()>>& cases() {
  static std::vector<std::pair<const char*, void (*)()>> all;
  return all;
}

std::vector<std::string>& directories() {
  static std::vector<std::string> all;
  return all;
}

int failures = 0;

}  // namespace

Case::Case(const char* name, void (*run)()) { cases().emplace_back(name, run); }

std::string temporary_directory() {
  std::string path =
      (std::filesystem::temp_directory_path() / "check-XXXXXX").string();
  if (mkdtemp(path.data()) == nullptr) {
    std::cerr << path << ": cannot make this directory\n";
    std::exit(1);
  }
  directories().push_back(path);
  return path;
}

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
  for (const std::string& directory : check::directories()) {
    std::filesystem::remove_all(directory);
  }
  return check::failures == 0 ? 0 : 1;
}
