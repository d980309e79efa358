// Packed weights in large pages.
#pragma once

#include <string>

#include "file_handle.h"
#include "result.h"

namespace ptefoundry {

// Moves the bytes of a file into a new one, whose cached pages are large.
//
// The library fills its file through a mapping, page by page, so that the
// system caches small pages, and reading all weights for each token then waits
// for their addresses. What is written in large pieces is kept in large pages
// where the file system can do that. `source` is emptied on the way, so both
// together take about the room of one.
Status move_bytes(const FileHandle& source, const std::string& from,
                  const std::string& to);

}  // namespace ptefoundry
