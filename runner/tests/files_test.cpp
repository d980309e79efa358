#include "files.h"

#include <string>
#include <vector>

#include "check.h"

namespace {

using namespace ptefoundry;

std::string temporary(const std::string& name) {
  static const std::string directory = check::temporary_directory();
  return directory + "/" + name;
}

std::string write(const std::string& name, const std::string& bytes) {
  const std::string path = temporary(name);
  CHECK(write_file(path, bytes.data(), bytes.size()).ok());
  return path;
}

std::string little_endian(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) {
    bytes.push_back(static_cast<char>(value >> (8 * i)));
  }
  return bytes;
}

// A file of `size` bytes whose header claims what is given.
std::string make_program(uint64_t program, uint64_t start, uint64_t segments,
                         size_t size = 100) {
  std::string bytes = std::string("\0\0\0\0ET12eh00", 12) +
                      std::string("\x20\0\0\0", 4) + little_endian(program) +
                      little_endian(start) + little_endian(segments);
  bytes.resize(size);
  return write("program.pte", bytes);
}

std::string make_data(uint64_t start, uint64_t length) {
  std::string bytes = std::string("\0\0\0\0FT01FH01", 12) +
                      std::string("\x28\0\0\0", 4) + little_endian(48) +
                      little_endian(16) + little_endian(start) +
                      little_endian(length);
  bytes.resize(100);
  return write("data.ptd", bytes);
}

TEST(files_as_long_as_their_header_says_pass) {
  CHECK(check_program_file(make_program(60, 60, 40)).ok());
  CHECK(check_data_file(make_data(64, 36)).ok());
}

TEST(truncated_files_are_refused) {
  CHECK(!check_program_file(make_program(101, 0, 0)).ok());
  CHECK(!check_program_file(make_program(60, 60, 41)).ok());
  CHECK(!check_program_file(make_program(60, UINT64_MAX, 41)).ok());
  const Status data = check_data_file(make_data(64, 37));
  CHECK(!data.ok());
  CHECK_CONTAINS(data.failure().message, "the file ends at byte 100");
}

TEST(other_files_are_refused) {
  const std::string text = write("text.pte", std::string(100, 'x'));
  CHECK_CONTAINS(check_program_file(text).failure().message, "'ET12'");
  CHECK_CONTAINS(check_data_file(text).failure().message, "'FT01'");
  const std::string program = make_program(60, 60, 40);
  CHECK(!check_data_file(program).ok());
  const std::string tiny = write("tiny.pte", "xy");
  CHECK_CONTAINS(check_program_file(tiny).failure().message, "2 bytes");
  CHECK_CONTAINS(check_program_file(temporary("none")).failure().message,
                 "no such file");
  CHECK_CONTAINS(check_program_file(temporary("")).failure().message,
                 "not a regular file");
}

TEST(text_files_are_read_whole) {
  CHECK_EQUAL(read_text_file(write("text", "a\0b")).value(), std::string("a"));
  CHECK_EQUAL(read_text_file(write("empty", "")).value(), std::string());
  CHECK(!read_text_file(temporary("none")).ok());
  CHECK(!read_text_file(temporary("")).ok());
}

TEST(a_file_in_a_missing_directory_cannot_be_written) {
  CHECK(!write_file(temporary("none") + "/x", "x", 1).ok());
  CHECK(!make_directory(write("file", "x") + "/directory").ok());
}

}  // namespace
