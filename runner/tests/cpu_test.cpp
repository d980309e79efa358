#include "cpu.h"

#include <sstream>
#include <string>

#include "check.h"

namespace {

constexpr char kX86[] =
    "processor\t: 0\n"
    "vendor_id\t: AuthenticAMD\n"
    "cpu family\t: 25\n"
    "model\t\t: 17\n"
    "model name\t: AMD EPYC\n"
    "cpu MHz\t\t: 2445.4\n"
    "flags\t\t: fpu sse2 avx2 avx512f\n"
    "bogomips\t: 4890.8\n"
    "\n";
constexpr char kArm[] =
    "processor\t: 0\n"
    "BogoMIPS\t: 243.75\n"
    "Features\t: fp asimd asimddp\n"
    "CPU implementer\t: 0x41\n"
    "CPU variant\t: 0x3\n"
    "CPU part\t: 0xd0c\n"
    "CPU revision\t: 1\n";

std::string describe(const std::string& cpuinfo,
                     const std::string& machine = "x86_64") {
  std::istringstream stream(cpuinfo);
  return ptefoundry::describe_cpu(machine, stream);
}

std::string with(std::string text, const std::string& old,
                 const std::string& replacement) {
  return text.replace(text.find(old), old.size(), replacement);
}

TEST(what_kernels_are_chosen_by_differs) {
  for (const char* part : {"AMD EPYC", "avx512f", "AuthenticAMD", "25", "17"}) {
    CHECK(describe(with(kX86, part, "other")) != describe(kX86));
  }
  for (const char* part : {"asimddp", "0x41", "0xd0c", "0x3"}) {
    CHECK(describe(with(kArm, part, "other")) != describe(kArm));
  }
  CHECK(describe(kX86) != describe(kX86, "i686"));
  CHECK(describe("") != describe("", "aarch64"));
}

TEST(what_changes_by_itself_does_not_count) {
  CHECK(describe(with(kX86, "2445.4", "1500.0")) == describe(kX86));
  CHECK(describe(with(kX86, "4890.8", "4890.7")) == describe(kX86));
  CHECK(describe(with(kArm, "243.75", "243.74")) == describe(kArm));
}

TEST(the_number_of_cores_does_not_count_but_their_kinds_do) {
  CHECK(describe(std::string(kX86) + kX86) == describe(kX86));
  const std::string little = with(kArm, "0xd0c", "0xd05");
  CHECK(describe(kArm + little) == describe(little + kArm));
  CHECK(describe(kArm + little) != describe(kArm));
}

TEST(this_machine_is_itself) {
  CHECK(ptefoundry::describe_cpu() == ptefoundry::describe_cpu());
  CHECK(!ptefoundry::describe_cpu().empty());
}

}  // namespace
