// Small matrix products and exponentials that compilers turn into vector code.
#pragma once

#include <cstdint>
#include <cstring>

// One binary for every x86-64: the loader picks the version for its processor.
// Tests define it as nothing, to run what a processor without AVX2 gets.
#ifdef PTEFOUNDRY_FOR_EACH_PROCESSOR
#elif defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define PTEFOUNDRY_FOR_EACH_PROCESSOR \
  __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define PTEFOUNDRY_FOR_EACH_PROCESSOR
#endif
// A function only gets the instructions of its caller when it is inlined.
#define PTEFOUNDRY_INLINE inline __attribute__((always_inline))

namespace ptefoundry {

constexpr int64_t kLanes = 8;
typedef float Lanes
    __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

typedef int32_t IntLanes __attribute__((vector_size(kLanes * sizeof(int32_t))));

template <typename To, typename From>
PTEFOUNDRY_INLINE To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

PTEFOUNDRY_INLINE Lanes load(const float* p) {
  return *reinterpret_cast<const Lanes*>(p);
}
PTEFOUNDRY_INLINE void store(float* p, Lanes x) {
  *reinterpret_cast<Lanes*>(p) = x;
}

PTEFOUNDRY_INLINE float add_lanes(Lanes x) {
  float sum = 0;
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    sum += x[lane];
  }
  return sum;
}

// Lane k of the result is the sum of all lanes of x[k].
PTEFOUNDRY_INLINE Lanes add_each(const Lanes x[kLanes]) {
  Lanes pairs[4];
  for (int64_t k = 0; k < 4; ++k) {
    const Lanes a = x[2 * k];
    const Lanes b = x[2 * k + 1];
    pairs[k] = __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14) +
               __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
  }
  Lanes halves[2];
  for (int64_t k = 0; k < 2; ++k) {
    const Lanes a = pairs[2 * k];
    const Lanes b = pairs[2 * k + 1];
    halves[k] = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13) +
                __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
  }
  const auto [a, b] = halves;
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11) +
         __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}

// Lane k of the result is a [n] times rows[k] [n].
PTEFOUNDRY_INLINE Lanes dot_each(const float* a, const float* const* rows,
                                 int64_t n) {
  Lanes sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Lanes x = load(a + i);
    for (int64_t k = 0; k < kLanes; ++k) {
      sums[k] += x * load(rows[k] + i);
    }
  }
  Lanes result = add_each(sums);
  for (; i < n; ++i) {
    for (int64_t k = 0; k < kLanes; ++k) {
      result[k] += a[i] * rows[k][i];
    }
  }
  return result;
}

// A dense row-major matrix inside a larger one: `stride` floats from row to
// row.
struct Rows {
  const float* data;
  int64_t stride;
};

// c [8, 8] = transpose of a [8, 8]
PTEFOUNDRY_INLINE void transpose_tile(Rows a, float* c, int64_t c_stride) {
  Lanes rows[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) {
    rows[i] = load(a.data + i * a.stride);
  }
  Lanes pairs[kLanes];  // neighbours interleaved: [row pair, low or high half]
  for (int64_t i = 0; i < kLanes; i += 2) {
    const Lanes x = rows[i];
    const Lanes y = rows[i + 1];
    pairs[i] = __builtin_shufflevector(x, y, 0, 8, 1, 9, 4, 12, 5, 13);
    pairs[i + 1] = __builtin_shufflevector(x, y, 2, 10, 3, 11, 6, 14, 7, 15);
  }
  Lanes fours[kLanes];  // columns of four rows: k and k + 4 in one vector
  for (int64_t i = 0; i < kLanes; i += 4) {
    for (int64_t half = 0; half < 2; ++half) {
      const Lanes x = pairs[i + half];
      const Lanes y = pairs[i + 2 + half];
      fours[i + 2 * half] =
          __builtin_shufflevector(x, y, 0, 1, 8, 9, 4, 5, 12, 13);
      fours[i + 2 * half + 1] =
          __builtin_shufflevector(x, y, 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int64_t k = 0; k < 4; ++k) {
    const Lanes x = fours[k];
    const Lanes y = fours[k + 4];
    store(c + k * c_stride,
          __builtin_shufflevector(x, y, 0, 1, 2, 3, 8, 9, 10, 11));
    store(c + (k + 4) * c_stride,
          __builtin_shufflevector(x, y, 4, 5, 6, 7, 12, 13, 14, 15));
  }
}

// c [width, height] = transpose of a [height, width]
PTEFOUNDRY_INLINE void transpose(Rows a, float* c, int64_t c_stride,
                                 int64_t height, int64_t width) {
  int64_t row = 0;
  for (; row + kLanes <= height; row += kLanes) {
    int64_t column = 0;
    for (; column + kLanes <= width; column += kLanes) {
      transpose_tile({a.data + row * a.stride + column, a.stride},
                     c + column * c_stride + row, c_stride);
    }
    for (; column < width; ++column) {
      for (int64_t i = row; i < row + kLanes; ++i) {
        c[column * c_stride + i] = a.data[i * a.stride + column];
      }
    }
  }
  for (; row < height; ++row) {
    for (int64_t column = 0; column < width; ++column) {
      c[column * c_stride + row] = a.data[row * a.stride + column];
    }
  }
}

// c [kHeight, kVectors * 8] += a [kHeight, depth] * b [depth, kVectors * 8],
// with all of c in registers.
template <int kHeight, int kVectors>
PTEFOUNDRY_INLINE void multiply_tile(Rows a, Rows b, float* c, int64_t c_stride,
                                     int64_t depth) {
  Lanes sums[kHeight][kVectors];
  for (int row = 0; row < kHeight; ++row) {
    for (int v = 0; v < kVectors; ++v) {
      sums[row][v] = load(c + row * c_stride + v * kLanes);
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    Lanes b_row[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      b_row[v] = load(b.data + k * b.stride + v * kLanes);
    }
    for (int row = 0; row < kHeight; ++row) {
      const float x = a.data[row * a.stride + k];
      for (int v = 0; v < kVectors; ++v) {
        sums[row][v] += x * b_row[v];
      }
    }
  }
  for (int row = 0; row < kHeight; ++row) {
    for (int v = 0; v < kVectors; ++v) {
      store(c + row * c_stride + v * kLanes, sums[row][v]);
    }
  }
}

template <int kHeight>
PTEFOUNDRY_INLINE void multiply_strip(Rows a, Rows b, float* c,
                                      int64_t c_stride, int64_t depth,
                                      int64_t width) {
  // With 16 registers: 12 sums, a row of b and one number of a.
  constexpr int kVectors = kHeight > 3 ? 2 : 4;
  int64_t column = 0;
  for (; column + kVectors * kLanes <= width; column += kVectors * kLanes) {
    multiply_tile<kHeight, kVectors>(a, {b.data + column, b.stride}, c + column,
                                     c_stride, depth);
  }
  for (; column + kLanes <= width; column += kLanes) {
    multiply_tile<kHeight, 1>(a, {b.data + column, b.stride}, c + column,
                              c_stride, depth);
  }
  for (; column < width; ++column) {
    for (int row = 0; row < kHeight; ++row) {
      for (int64_t k = 0; k < depth; ++k) {
        c[row * c_stride + column] +=
            a.data[row * a.stride + k] * b.data[k * b.stride + column];
      }
    }
  }
}

// c [height, width] += a [height, depth] * b [depth, width]
PTEFOUNDRY_INLINE void multiply(Rows a, Rows b, float* c, int64_t c_stride,
                                int64_t height, int64_t depth, int64_t width) {
  for (int64_t row = 0; row < height;) {
    const Rows strip = {a.data + row * a.stride, a.stride};
    float* target = c + row * c_stride;
    const int64_t left = height - row;
    if (left >= 6) {
      multiply_strip<6>(strip, b, target, c_stride, depth, width);
      row += 6;
    } else if (left == 3 || left > 4) {
      multiply_strip<3>(strip, b, target, c_stride, depth, width);
      row += 3;
    } else if (left > 1) {
      multiply_strip<2>(strip, b, target, c_stride, depth, width);
      row += 2;
    } else {
      multiply_strip<1>(strip, b, target, c_stride, depth, width);
      row += 1;
    }
  }
}

// exp(x) to 2 ulp for x <= 0: 2^k times a polynomial on [-ln(2)/2, ln(2)/2].
PTEFOUNDRY_INLINE Lanes exp_nonpositive(Lanes x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds
  const Lanes shifted = x * 1.44269504f + kRound;
  const Lanes k = shifted - kRound;
  const Lanes r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
  Lanes p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  // The low bits of `shifted` are k, which goes into the exponent.
  const IntLanes exponent = (bit_cast<IntLanes>(shifted) - 0x4B400000 + 127)
                            << 23;
  const Lanes zero = {};
  return x < -87.0f ? zero : p * bit_cast<Lanes>(exponent);
}

}  // namespace ptefoundry
