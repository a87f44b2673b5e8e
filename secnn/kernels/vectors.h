// Vectors of float32, and their loads and stores from float32 and bfloat16, whole and in part.
#pragma once
#include <cstdint>
#include <cstring>
#ifdef __AVX2__
#include <immintrin.h>
#endif

// As many floats as a register holds: GCC splits longer vectors through memory, 10 times slower.
#ifdef __AVX512F__
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif
#ifdef __AVX512BF16__  // Then the processor multiplies pairs of bfloat16.
#define PAIRED
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef uint32_t word __attribute__((vector_size(4 * LANES)));
typedef uint16_t half __attribute__((vector_size(2 * LANES)));

struct bfloat16 {  // The upper half of a float.
    uint16_t bits;
};

#define INLINE __attribute__((always_inline)) static inline
#define EACH(I, COUNT) _Pragma("GCC unroll 16") for (int I = 0; I < COUNT; I++)

template <class V, class T>
INLINE V get(const T* p) {
    V v;
    std::memcpy(&v, p, sizeof(v));
    return v;
}

INLINE vec widen(half h) { return (vec)(__builtin_convertvector(h, word) << 16); }

INLINE half narrow(vec v) {  // Rounded to nearest, ties to even.
#ifdef PAIRED
    return (half)_mm512_cvtneps_pbh((__m512)v);
#else
    word bits = (word)v;
    word rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return __builtin_convertvector(v == v ? rounded : word{} + 0x7fc0, half);
#endif
}

INLINE vec load(const float* p) { return get<vec>(p); }
INLINE vec load(const bfloat16* p) { return widen(get<half>(p)); }
INLINE void store(float* p, vec v) { std::memcpy(p, &v, sizeof(v)); }
INLINE void store(bfloat16* p, vec v) {
    half h = narrow(v);
    std::memcpy(p, &h, sizeof(h));
}

INLINE void put(float* p, float value) { *p = value; }
INLINE void put(bfloat16* p, float value) {
    half h = narrow(vec{} + value);
    std::memcpy(p, &h, sizeof(*p));
}

INLINE vec slope_at(vec z, float slope) { return z > 0 ? vec{} + 1.0f : vec{} + slope; }

// Chunks of N values; of the last one only its `lanes` are read, the others are 0, and written.
constexpr int chunks(int n) { return (n + LANES - 1) / LANES; }

template <int N>
constexpr int lanes(int i) {
    return N - i * LANES < LANES ? N - i * LANES : LANES;
}

// GCC copies a part of a register through memory: passes over 24 channels took three times as long
// as over 32.
#if defined(__AVX512BW__) && defined(__AVX512VL__)
template <int N>
INLINE vec load_part(const float* p, int i) {
    return (vec)_mm512_maskz_loadu_ps((1u << lanes<N>(i)) - 1, p + i * LANES);
}
template <int N>
INLINE vec load_part(const bfloat16* p, int i) {
    return widen((half)_mm256_maskz_loadu_epi16((1u << lanes<N>(i)) - 1, p + i * LANES));
}
template <int N>
INLINE void store_part(float* p, int i, vec v) {
    _mm512_mask_storeu_ps(p + i * LANES, (1u << lanes<N>(i)) - 1, (__m512)v);
}
template <int N>
INLINE void store_part(bfloat16* p, int i, vec v) {
    _mm256_mask_storeu_epi16(p + i * LANES, (1u << lanes<N>(i)) - 1, (__m256i)narrow(v));
}
#else
template <int N>
INLINE vec load_part(const float* p, int i) {
    vec v = {};
    std::memcpy(&v, p + i * LANES, 4 * lanes<N>(i));
    return v;
}
template <int N>
INLINE vec load_part(const bfloat16* p, int i) {
    half h = {};
    std::memcpy(&h, p + i * LANES, 2 * lanes<N>(i));
    return widen(h);
}
template <int N>
INLINE void store_part(float* p, int i, vec v) { std::memcpy(p + i * LANES, &v, 4 * lanes<N>(i)); }
template <int N>
INLINE void store_part(bfloat16* p, int i, vec v) {
    half h = narrow(v);
    std::memcpy(p + i * LANES, &h, 2 * lanes<N>(i));
}
#endif

template <int N, class T>
INLINE vec load(const T* p, int i) {
    return lanes<N>(i) == LANES ? load(p + i * LANES) : load_part<N>(p, i);
}

template <int N, class T>
INLINE void store(T* p, int i, vec v) {
    lanes<N>(i) == LANES ? store(p + i * LANES, v) : store_part<N>(p, i, v);
}

template <int N>
struct Values {  // One a channel.
    vec v[chunks(N)] = {};

    Values() = default;
    explicit Values(const float* p) {
        if (!p) return;
        EACH(i, chunks(N)) v[i] = load<N>(p, i);
    }
};

template <int N>
static inline void add_to(double* sums, const Values<N>& values) {
    float flat[chunks(N) * LANES];
    std::memcpy(flat, values.v, sizeof(flat));
    for (int c = 0; c < N; c++) sums[c] += flat[c];
}
