// Checks on input files that are made before the runtime maps them.
#pragma once

#include <string>

#include "result.h"

namespace ptefoundry {

// A .pte must carry the program identifier and be as long as its header says:
// reading a mapped page beyond the end of a file would kill the process.
Status check_program_file(const std::string& path);

// The same for a .ptd data file (a foundation).
Status check_data_file(const std::string& path);

// The head of a .ptd up to the end of its index of tensors. Checked as above.
Result<std::string> read_data_index(const std::string& path);

// Whole contents of a text file, as bytes.
Result<std::string> read_text_file(const std::string& path);

// Fails on a directory that does not exist and cannot be made.
Status make_directory(const std::string& path);

// Replaces the file, if there is one.
Status write_file(const std::string& path, const void* bytes, size_t size);

}  // namespace ptefoundry
