// The index at the end of a packed-weights file, as ExecuTorch 1.5 writes it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "result.h"

namespace ptefoundry {

// Number of packed tensors of a whole file. Fails on a file without a sound
// index, and on one with a tensor that is not named by the sha256 of its
// contents: such a name could mean other weights tomorrow.
Result<uint64_t> count_packed_tensors(std::string_view file);

}  // namespace ptefoundry
