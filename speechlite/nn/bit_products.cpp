// Products of one-bit matrices: pack, multiply, slide a window.
//
// Plain C functions over pointers, so that one library serves every version of Python and torch.
// Words hold 64 bits; bit k of a row is bit k % 64 of its word k / 64; unused bits are 0.
// The floating-point steps are integer to float, times scale, plus bias, each rounded (built with
// -ffp-contract=off), so that every implementation returns the same bits.

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#define TARGET_AVX512 \
  __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512vpopcntdq,popcnt")))
#define TARGET_POPCNT __attribute__((target("popcnt")))
#else
#define TARGET_POPCNT
#endif

namespace {
constexpr int64_t kColumns = 32;  // outputs of a panel: four vectors of eight 64-bit counters

struct Product {
  const uint64_t* a;      // (rows, words)
  const uint64_t* b;      // (columns, words)
  const float *scale, *bias;  // (columns)
  float* out;             // (rows, columns)
  int64_t* offsets;       // (rows), room for what a row's sums are before its counts
  int64_t rows, columns, words, width;
  bool is_unsigned;
};

// signed: width - 2 count; unsigned: 2 count - ones of the row. Both are offset + factor * count.
TARGET_POPCNT void fill_offsets(const Product& p) {
  for (int64_t row = 0; row < p.rows; ++row) {
    int64_t ones = 0;
    if (p.is_unsigned)
      for (int64_t w = 0; w < p.words; ++w) ones += __builtin_popcountll(p.a[row * p.words + w]);
    p.offsets[row] = p.is_unsigned ? -ones : p.width;
  }
}

template <bool kUnsigned, int kRows>
TARGET_POPCNT inline void tile_popcnt(const Product& p, int64_t row, int64_t column) {
  const uint64_t* a = p.a + row * p.words;
  const uint64_t* b = p.b + column * p.words;
  int64_t counts[kRows] = {};
  for (int64_t w = 0; w < p.words; ++w)
    for (int r = 0; r < kRows; ++r) {
      const uint64_t x = a[r * p.words + w];
      counts[r] += __builtin_popcountll(kUnsigned ? x & b[w] : x ^ b[w]);
    }
  for (int r = 0; r < kRows; ++r) {
    const int64_t sum = p.offsets[row + r] + (kUnsigned ? 2 : -2) * counts[r];
    p.out[(row + r) * p.columns + column] =
        static_cast<float>(sum) * p.scale[column] + p.bias[column];
  }
}

template <bool kUnsigned>
TARGET_POPCNT void product_popcnt(const Product& p) {
  int64_t row = 0;
  for (; row + 4 <= p.rows; row += 4)
    for (int64_t column = 0; column < p.columns; ++column) tile_popcnt<kUnsigned, 4>(p, row, column);
  for (; row < p.rows; ++row)
    for (int64_t column = 0; column < p.columns; ++column) tile_popcnt<kUnsigned, 1>(p, row, column);
}

#if defined(__x86_64__)

// (8 columns, 8 words) -> (8 words, 8 columns); columns and words beyond the matrix read as 0.
TARGET_AVX512 inline void transpose_8x8(const uint64_t* b, int64_t stride, int64_t columns,
                                        __mmask8 words, uint64_t* panel, int64_t num_words) {
  __m512i r[8], s[8];
  for (int i = 0; i < 8; ++i)
    r[i] = i < columns ? _mm512_maskz_loadu_epi64(words, b + i * stride) : _mm512_setzero_si512();
  for (int i = 0; i < 8; i += 2) {
    s[i] = _mm512_unpacklo_epi64(r[i], r[i + 1]);
    s[i + 1] = _mm512_unpackhi_epi64(r[i], r[i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    // rows of 128-bit pairs: words i, i + 2, i + 4, i + 6 of column pairs 0, 2, 4, 6
    r[i] = _mm512_shuffle_i64x2(s[i], s[i + 2], 0x88);
    r[i + 2] = _mm512_shuffle_i64x2(s[i], s[i + 2], 0xdd);
    r[i + 4] = _mm512_shuffle_i64x2(s[i + 4], s[i + 6], 0x88);
    r[i + 6] = _mm512_shuffle_i64x2(s[i + 4], s[i + 6], 0xdd);
  }
  for (int i = 0; i < 2; ++i) {
    s[i] = _mm512_shuffle_i64x2(r[i], r[i + 4], 0x88);
    s[i + 4] = _mm512_shuffle_i64x2(r[i], r[i + 4], 0xdd);
    s[i + 2] = _mm512_shuffle_i64x2(r[i + 2], r[i + 6], 0x88);
    s[i + 6] = _mm512_shuffle_i64x2(r[i + 2], r[i + 6], 0xdd);
  }
  for (int64_t w = 0; w < num_words; ++w) _mm512_storeu_si512(panel + w * kColumns, s[w]);
}

TARGET_AVX512 void fill_panel(const Product& p, int64_t column, uint64_t* panel) {
  for (int64_t block = 0; block < kColumns; block += 8) {
    const int64_t columns = p.columns - column - block;
    for (int64_t w = 0; w < p.words; w += 8) {
      const int64_t words = p.words - w < 8 ? p.words - w : 8;
      const __mmask8 mask = static_cast<__mmask8>((1u << words) - 1);
      transpose_8x8(p.b + (column + block) * p.words + w, p.words, columns, mask,
                    panel + w * kColumns + block, words);
    }
  }
}

template <bool kUnsigned, int kRows>
TARGET_AVX512 inline void tile_avx512(const Product& p, const uint64_t* panel, int64_t row,
                                      int64_t column) {
  const uint64_t* a = p.a + row * p.words;
  __m512i counts[kRows][4];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < 4; ++v) counts[r][v] = _mm512_setzero_si512();
  for (int64_t w = 0; w < p.words; ++w)
    for (int v = 0; v < 4; ++v) {
      const __m512i b = _mm512_loadu_si512(panel + w * kColumns + v * 8);
      for (int r = 0; r < kRows; ++r) {
        const __m512i x = _mm512_set1_epi64(static_cast<long long>(a[r * p.words + w]));
        const __m512i bits = kUnsigned ? _mm512_and_si512(x, b) : _mm512_xor_si512(x, b);
        counts[r][v] = _mm512_add_epi64(counts[r][v], _mm512_popcnt_epi64(bits));
      }
    }
  for (int r = 0; r < kRows; ++r) {
    const __m512i offset = _mm512_set1_epi64(p.offsets[row + r]);
    float* out = p.out + (row + r) * p.columns + column;
    for (int v = 0; v < 4; ++v) {
      const int64_t left = p.columns - column - v * 8;
      if (left <= 0) break;
      const __mmask8 mask = left >= 8 ? 0xff : static_cast<__mmask8>((1u << left) - 1);
      const __m512i twice = _mm512_slli_epi64(counts[r][v], 1);
      const __m512i sum = kUnsigned ? _mm512_add_epi64(offset, twice)
                                    : _mm512_sub_epi64(offset, twice);
      const __m256 scale = _mm256_maskz_loadu_ps(mask, p.scale + column + v * 8);
      const __m256 bias = _mm256_maskz_loadu_ps(mask, p.bias + column + v * 8);
      const __m256 scaled = _mm256_mul_ps(_mm512_cvtepi64_ps(sum), scale);
      _mm256_mask_storeu_ps(out + v * 8, mask, _mm256_add_ps(scaled, bias));
    }
  }
}

template <bool kUnsigned>
TARGET_AVX512 void product_avx512(const Product& p, uint64_t* panels, int64_t block) {
  for (int64_t first = 0; first < p.columns; first += block) {
    const int64_t last = p.columns - first < block ? p.columns : first + block;
    for (int64_t column = first; column < last; column += kColumns)
      fill_panel(p, column, panels + (column - first) * p.words);
    // rows outside, so that an output's rows are written in long runs
    for (int64_t row = 0; row < p.rows;) {
      const bool is_full = row + 4 <= p.rows;
      for (int64_t column = first; column < last; column += kColumns)
        (is_full ? tile_avx512<kUnsigned, 4> : tile_avx512<kUnsigned, 1>)(
            p, panels + (column - first) * p.words, row, column);
      row += is_full ? 4 : 1;
    }
  }
}

template <bool kByColumn>
TARGET_AVX512 uint64_t pack_word_avx512(const float* values, const float* thresholds, int64_t bits) {
  uint64_t word = 0;
  for (int64_t k = 0; k < bits; k += 16) {
    const int64_t left = bits - k;
    const __mmask16 mask = left >= 16 ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
    const __m512 value = _mm512_maskz_loadu_ps(mask, values + k);
    const __m512 threshold = kByColumn ? _mm512_maskz_loadu_ps(mask, thresholds + k)
                                       : _mm512_set1_ps(*thresholds);
    word |= static_cast<uint64_t>(_mm512_mask_cmp_ps_mask(mask, value, threshold, _CMP_GE_OQ)) << k;
  }
  return word;
}

#endif

template <bool kByColumn>
uint64_t pack_word_plain(const float* values, const float* thresholds, int64_t bits) {
  uint64_t word = 0;
  for (int64_t k = 0; k < bits; ++k)
    word |= static_cast<uint64_t>(values[k] >= thresholds[kByColumn ? k : 0]) << k;
  return word;
}

template <bool kByColumn>
void pack(const float* values, const float* thresholds, uint64_t* words, int64_t num_thresholds,
          int64_t rows, int64_t width, int level) {
  auto* pack_word = pack_word_plain<kByColumn>;
#if defined(__x86_64__)
  if (level == 2) pack_word = pack_word_avx512<kByColumn>;
#endif
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t k = 0; k < width; k += 64) {
      const float* threshold = thresholds + (kByColumn ? k : row % num_thresholds);
      *words++ = pack_word(values + row * width + k, threshold, width - k < 64 ? width - k : 64);
    }
}

struct Windows {
  const uint64_t* bits;   // (batch, channels, words)
  const uint64_t* signs;  // (channels)
  const float *scale, *bias;  // (channels)
  float* out;             // (batch, channels, windows)
  int64_t batch, channels, windows, words, width, stride;
};

// The compiler makes vectors of the inner loop, so its body stands once for all processors.
template <bool kUnsigned>
__attribute__((always_inline)) inline void slide(const Windows& p) {
  const uint64_t mask = ~uint64_t{0} >> (64 - p.width);
  const int64_t stride = p.stride;
  for (int64_t row = 0; row < p.batch * p.channels; ++row) {
    const int64_t channel = row % p.channels;
    const uint64_t signs = p.signs[channel];
    const float scale = p.scale[channel], bias = p.bias[channel];
    for (int64_t word = 0; word < p.words; ++word) {
      const uint64_t* words = p.bits + row * p.words + word;
      const uint64_t low = words[0], high = word + 1 < p.words ? words[1] << 1 : 0;
      const int64_t first = (word * 64 + stride - 1) / stride;
      const int64_t end = ((word + 1) * 64 + stride - 1) / stride;
      const int64_t last = end < p.windows ? end : p.windows;
      float* out = p.out + row * p.windows;
      for (int64_t i = first; i < last; ++i) {
        const uint64_t shift = static_cast<uint64_t>(i * stride - word * 64);
        // high is one bit up already: a shift by 64 would mean nothing
        const uint64_t bits = (low >> shift | high << (63 - shift)) & mask;
        const int count = __builtin_popcountll(kUnsigned ? bits & signs : bits ^ signs);
        const int offset = kUnsigned ? -__builtin_popcountll(bits) : static_cast<int>(p.width);
        out[i] = static_cast<float>(offset + (kUnsigned ? 2 : -2) * count) * scale + bias;
      }
    }
  }
}

template <bool kUnsigned>
TARGET_POPCNT void slide_popcnt(const Windows& p) { slide<kUnsigned>(p); }
#if defined(__x86_64__)
template <bool kUnsigned>
TARGET_AVX512 void slide_avx512(const Windows& p) { slide<kUnsigned>(p); }
#endif

}  // namespace

extern "C" {

// 2: AVX-512 VPOPCNTDQ; 1: 64-bit popcount; 0: this processor can run neither. The functions below
// take the level to run at, at most this one.
int speechlite_bit_level() {
#if defined(__x86_64__)
  const bool has_avx512 =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vpopcntdq");
  return has_avx512 ? 2 : __builtin_cpu_supports("popcnt") ? 1 : 0;
#else
  return 1;
#endif
}

// One bit a value of (rows, width); thresholds of a column each, or of rows in turn.
void speechlite_pack(const float* values, const float* thresholds, uint64_t* words,
                     int64_t num_thresholds, int64_t rows, int64_t width, int by_column,
                     int level) {
  (by_column ? pack<true> : pack<false>)(values, thresholds, words, num_thresholds, rows, width,
                                           level);
}

// Products of (groups, rows, words) with (groups, columns, words); room: rows +
// words * block words, where block is a multiple of 32, the columns to transpose at a time.
void speechlite_product(const uint64_t* a, const uint64_t* b, const float* scale, const float* bias,
                        uint64_t* room, float* out, int64_t groups, int64_t rows, int64_t columns,
                        int64_t words, int64_t width, int64_t block, int is_unsigned,
                        int level) {
  for (int64_t g = 0; g < groups; ++g) {
    const Product p = {a + g * rows * words, b + g * columns * words, scale, bias,
                       out + g * rows * columns, reinterpret_cast<int64_t*>(room), rows, columns,
                       words, width, is_unsigned != 0};
    fill_offsets(p);
#if defined(__x86_64__)
    if (level == 2) {
      (is_unsigned ? product_avx512<true> : product_avx512<false>)(p, room + rows, block);
      continue;
    }
#endif
    (is_unsigned ? product_popcnt<true> : product_popcnt<false>)(p);
  }
}

// Products of a window of width bits, stride bits apart, of each channel's row of words.
void speechlite_windows(const uint64_t* bits, const uint64_t* signs, const float* scale,
                        const float* bias, float* out, int64_t batch, int64_t channels,
                        int64_t windows, int64_t words, int64_t width, int64_t stride,
                        int is_unsigned, int level) {
  const Windows p = {bits, signs, scale, bias, out, batch, channels, windows, words, width, stride};
#if defined(__x86_64__)
  if (level == 2) return (is_unsigned ? slide_avx512<true> : slide_avx512<false>)(p);
#endif
  (is_unsigned ? slide_popcnt<true> : slide_popcnt<false>)(p);
}

}  // extern "C"
