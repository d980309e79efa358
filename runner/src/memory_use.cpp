#include "memory_use.h"

#include <stdlib.h>  // defines __GLIBC__

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <fstream>
#include <sstream>
#include <string>

namespace ptefoundry {

MemoryUse read_memory_use() {
  MemoryUse use;
  std::ifstream stream("/proc/self/smaps_rollup");
  std::string line;
  while (std::getline(stream, line)) {
    std::istringstream fields(line);
    std::string key;
    int64_t kibibytes = 0;
    if (!(fields >> key >> kibibytes)) {
      continue;
    }
    if (key == "Rss:") {
      use.rss = kibibytes * 1024;
    } else if (key == "Anonymous:") {
      use.anonymous = kibibytes * 1024;
    } else if (key == "Pss:") {
      use.pss = kibibytes * 1024;
    }
  }
  return use;
}

void give_back_freed_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace ptefoundry
