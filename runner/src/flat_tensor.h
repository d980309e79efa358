// The index of a .ptd data file, checked before the runtime trusts it.
#pragma once

#include <cstdint>
#include <string_view>

namespace ptefoundry {

// `index` is the file up to the end of its flatbuffer, `data_bytes` the length
// of the tensors behind it. True if every offset, string and tensor layout of
// the index lies within bounds; the runtime itself does not look.
bool is_sound_flat_tensor(std::string_view index, uint64_t data_bytes);

}  // namespace ptefoundry
