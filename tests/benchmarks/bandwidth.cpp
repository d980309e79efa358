// Measures how fast threads together read a buffer, as decoding reads weights.
//
//     bandwidth BYTES THREADS PASSES [FILE]
//
// Prints the bytes per second of each pass as a JSON list. The buffer is
// anonymous memory in huge pages where the system has them: what the machine
// can do at best. With FILE it is that file, mapped, as weights are.

#include <fcntl.h>
#include <sys/mman.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

typedef float Lanes __attribute__((vector_size(32)));

// Eight sums, so that no addition waits for the one before it.
float sum(const Lanes* data, size_t count) {
  Lanes sums[8] = {};
  for (size_t i = 0; i + 8 <= count; i += 8) {
    for (size_t k = 0; k < 8; ++k) {
      sums[k] += data[i + k];
    }
  }
  float total = 0;
  for (const Lanes& lanes : sums) {
    for (int k = 0; k < 8; ++k) {
      total += lanes[k];
    }
  }
  return total;
}

void* buffer(size_t bytes, const char* file) {
  if (file != nullptr) {
    return mmap(nullptr, bytes, PROT_READ, MAP_SHARED, open(file, O_RDONLY), 0);
  }
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory != MAP_FAILED) {
    madvise(memory, bytes, MADV_HUGEPAGE);
    std::memset(memory, 0, bytes);
  }
  return memory;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fputs("usage: bandwidth BYTES THREADS PASSES [FILE]\n", stderr);
    return 2;
  }
  const size_t bytes = std::strtoull(argv[1], nullptr, 10);
  const size_t thread_count = std::strtoull(argv[2], nullptr, 10);
  const int passes = std::atoi(argv[3]);
  void* const memory = buffer(bytes, argc > 4 ? argv[4] : nullptr);
  if (memory == MAP_FAILED) {
    std::perror("bandwidth: cannot map the buffer");
    return 1;
  }
  const auto* data = static_cast<const Lanes*>(memory);
  const size_t share = bytes / sizeof(Lanes) / thread_count;
  std::vector<float> sums(thread_count);
  for (int pass = -1; pass < passes; ++pass) {  // the first one only warms up
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> threads;
    for (size_t i = 0; i < thread_count; ++i) {
      threads.emplace_back(
          [&, i] { sums[i] += sum(data + i * share, share); });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    const std::chrono::duration<double> elapsed =
        std::chrono::steady_clock::now() - start;
    if (pass >= 0) {
      const auto read = share * thread_count * sizeof(Lanes);
      std::printf("%s%.0f", pass == 0 ? "[" : ", ", read / elapsed.count());
    }
  }
  // Printed, so that the sums cannot be left out.
  std::printf("]\n");
  std::fprintf(stderr, "%g\n", sums[0]);
}
