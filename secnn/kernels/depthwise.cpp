// Depthwise 3 x 3 convolution, stride 1, zeros around, and its gradients, on channels-last tensors.
//
// Compiled once for each number of channels (CHANNELS). Rows are taken two at a time: a Pair holds
// the values of two rows at a pixel, so that what it adds to a sum is one instruction where the
// processor multiplies pairs of bfloat16. Sums are of float32. `threads` split the samples; the
// weight's gradient is summed over groups of samples and then over the groups, always the same
// ones, so that no result depends on the number of threads.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

// As many floats as a register holds: GCC splits longer vectors through memory, 10 times slower.
#ifdef __AVX512F__
constexpr int WIDEST = 16;
#else
constexpr int WIDEST = 8;
#endif
#if defined(__AVX512BF16__) && CHANNELS >= 16
#include <immintrin.h>
#define PAIRED
#endif
constexpr int C = CHANNELS, TAPS = 9;
constexpr int LANES = C >= WIDEST ? WIDEST : C >= 8 ? 8 : C >= 4 ? 4 : C >= 2 ? 2 : 1;
// Chunks may overlap: the last one ends with the last channel. So none is narrower.
constexpr int CHUNKS = (C + LANES - 1) / LANES, SUMS = CHUNKS * TAPS * LANES;
constexpr int64_t GROUP = 8;  // Samples.

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef uint32_t word __attribute__((vector_size(4 * LANES)));
typedef uint16_t half __attribute__((vector_size(2 * LANES)));

struct bfloat16 {  // The upper half of a float.
    uint16_t bits;
};

#define INLINE __attribute__((always_inline)) static inline
#define EACH(I, COUNT) _Pragma("GCC unroll 16") for (int I = 0; I < COUNT; I++)

static int start(int chunk) { return std::min(chunk * LANES, C - LANES); }

template <class V, class T>
INLINE V get(const T* p) {
    V v;
    std::memcpy(&v, p, sizeof(v));
    return v;
}

INLINE vec load(const float* p) { return get<vec>(p); }

INLINE vec load(const bfloat16* p) {
    return (vec)(__builtin_convertvector(get<half>(p), word) << 16);
}

INLINE void store(float* p, vec v) { std::memcpy(p, &v, sizeof(v)); }

INLINE void store(bfloat16* p, vec v) {  // Rounded to nearest, ties to even.
#ifdef PAIRED
    auto h = _mm512_cvtneps_pbh((__m512)v);
#else
    word bits = (word)v;
    word rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    half h = __builtin_convertvector(v == v ? rounded : word{} + 0x7fc0, half);
#endif
    std::memcpy(p, &h, sizeof(h));
}

// Of two rows the values at a pixel. `add` gives sum + p.upper * q.upper + p.lower * q.lower; with
// only one of UPPER and LOWER, q is 0 in the other row and that product may be left out. (Where it
// is not, what is not finite reaches one row further than it should.)
template <class T>
struct Pair {
    vec upper, lower;

    INLINE Pair of(const T* a, const T* b) { return {load(a), load(b)}; }

    template <bool UPPER = true, bool LOWER = true>
    INLINE vec add(vec sum, Pair p, Pair q) {
        if (UPPER) sum += p.upper * q.upper;
        if (LOWER) sum += p.lower * q.lower;
        return sum;
    }
};

#ifdef PAIRED
template <>
struct Pair<bfloat16> {
    __m512i mixed;  // By turns of the upper and the lower row.

    INLINE Pair of(const bfloat16* a, const bfloat16* b) {
        const __m512i turns = _mm512_set_epi16(  //
            47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8,  //
            39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
        const auto upper = _mm512_castsi256_si512(get<__m256i>(a));
        return {_mm512_permutex2var_epi16(upper, turns, _mm512_castsi256_si512(get<__m256i>(b)))};
    }

    template <bool UPPER = true, bool LOWER = true>
    INLINE vec add(vec sum, Pair p, Pair q) {
        return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)p.mixed, (__m512bh)q.mixed);
    }
};
#endif

template <class T>
struct Image {
    const T* first;
    const T* zeros;  // What the rows above and below it are.
    int64_t h, pitch;

    const T* row(int64_t r) const { return r >= 0 && r < h ? first + r * pitch : zeros; }
};

// Asks for the pixel of two rows that is `rows` below p.
template <bool WRITE = false, class T>
INLINE void fetch(const T* p, int64_t pitch, int rows) {
    __builtin_prefetch(p + rows * pitch, WRITE);
    __builtin_prefetch(p + (rows + 1) * pitch, WRITE);
}

// Processors do not foresee steps of C values, and waited for memory up to two thirds of the time.
// Asking twice for each line is up to a quarter faster than once; where chunks share lines, each
// chunk asks once.
template <class T>
INLINE void fetch_twice(const T* p, int64_t pitch) {
    fetch(p, pitch, 4);
    if (sizeof(T) * LANES >= 64) fetch(p, pitch, 2);
}

// Rows `row` and `row` + 1 of the convolution of x, to y and `below`, for a chunk from channel c on.
template <class T>
INLINE void convolve(const Image<T>& x, int64_t row, int c, const T* taps, T* y, T* below) {
    using P = Pair<T>;
    P of_y[2][3], of_below[2][3];  // What each pair of rows of x counts there, by column of taps.
    EACH(k, 3) {
        const T *w0 = taps + k * C + c, *w1 = w0 + 3 * C, *w2 = w1 + 3 * C;
        of_y[0][k] = P::of(w0, w1), of_y[1][k] = P::of(w2, x.zeros);
        of_below[0][k] = P::of(x.zeros, w0), of_below[1][k] = P::of(w1, w2);
    }
    const T *in[4], *next = x.first + row * x.pitch + c;
    EACH(k, 4) in[k] = x.row(row + k - 1) + c;
    // Sums that lack the columns to come; a column ends one and begins another.
    vec here[2] = {}, right[2] = {}, done[2];
    const auto column = [&](int64_t at) __attribute__((always_inline)) {
        fetch_twice(next + at + x.pitch, x.pitch);
        fetch<true>(y + at, x.pitch, 2);
        const P first = P::of(in[0] + at, in[1] + at), last = P::of(in[2] + at, in[3] + at);
        const auto add = [&](const vec* to, int k, vec* sums) __attribute__((always_inline)) {
            sums[0] = P::add(to[0], first, of_y[0][k]);
            sums[0] = P::template add<true, false>(sums[0], last, of_y[1][k]);
            sums[1] = P::template add<false, true>(to[1], first, of_below[0][k]);
            sums[1] = P::add(sums[1], last, of_below[1][k]);
        };
        const vec none[2] = {};
        add(here, 2, done);
        add(right, 1, here);
        add(none, 0, right);
    };
    column(0);
    int64_t at = C;
    for (; at < x.pitch; at += C) {
        column(at);
        store(y + at - C, done[0]);
        store(below + at - C, done[1]);
    }
    store(y + at - C, here[0]);
    store(below + at - C, here[1]);
}

// Adds to `total` what rows `row` and `row` + 1 of dy count in the gradient of each tap.
template <class T>
INLINE void correlate(const Image<T>& x, const Image<T>& dy, int64_t row, int c, float* total) {
    using P = Pair<T>;
    const T *in[4], *next = x.first + row * x.pitch + c, *next_dy = dy.first + row * x.pitch + c;
    EACH(k, 4) in[k] = x.row(row + k - 1) + c;
    const T *upper = dy.row(row) + c, *lower = dy.row(row + 1) + c;
    vec sums[TAPS] = {};
    P left = P::of(dy.zeros, dy.zeros), here = P::of(upper, lower);
    const auto column = [&](int64_t at, P right) __attribute__((always_inline)) {
        fetch_twice(next + at + x.pitch, x.pitch);
        fetch_twice(next_dy + at, x.pitch);
        EACH(k, 3) {
            const P p = P::of(in[k] + at, in[k + 1] + at);
            sums[3 * k] = P::add(sums[3 * k], p, right);
            sums[3 * k + 1] = P::add(sums[3 * k + 1], p, here);
            sums[3 * k + 2] = P::add(sums[3 * k + 2], p, left);
        }
        left = here, here = right;
    };
    int64_t at = 0;
    for (; at < x.pitch - C; at += C) column(at, P::of(upper + at + C, lower + at + C));
    column(at, P::of(dy.zeros, dy.zeros));
    EACH(k, TAPS) store(total + k * LANES, load(total + k * LANES) + sums[k]);
}

static void add_groups(const std::vector<float>& sums, float* out) {
    std::vector<double> total(SUMS);
    for (size_t g = 0; g < sums.size(); g += SUMS)
        for (int k = 0; k < SUMS; k++) total[k] += sums[g + k];
    for (int i = 0; i < CHUNKS; i++)
        for (int k = 0; k < TAPS; k++)
            for (int l = 0; l < LANES; l++)
                out[k * C + start(i) + l] = total[(i * TAPS + k) * LANES + l];
}

// `y` is the convolution of `in` with `taps`, and `gradient` the taps' gradient if `in` is that of
// the convolution of x; either may be null. `in`, `x` and `y` are N x H x W x CHANNELS, the taps
// and their gradient 9 x CHANNELS.
template <class T>
static void convolution(const T* in, const T* x, const T* taps, int64_t n, int64_t h, int64_t w,
                        T* y, float* gradient, int threads) {
    const int64_t pitch = w * C, size = h * pitch, groups = (n + GROUP - 1) / GROUP;
    const std::vector<T> zeros(pitch);
    std::vector<float> sums(gradient ? groups * SUMS : 0);
    const auto sample = [&](int64_t i, T* spare) {
        const Image<T> image{in + i * size, zeros.data(), h, pitch};
        for (int64_t row = 0; row < h; row += 2)
            for (int k = 0; k < CHUNKS; k++) {
                const int c = start(k);
                if (y) {
                    T* to = y + i * size + row * pitch + c;
                    convolve(image, row, c, taps, to, row + 1 < h ? to + pitch : spare + c);
                }
                if (gradient) {
                    float* total = sums.data() + i / GROUP * SUMS + k * TAPS * LANES;
                    correlate({x + i * size, zeros.data(), h, pitch}, image, row, c, total);
                }
            }
    };
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<T> spare(pitch);  // For the row below the last one of an odd number.
#pragma omp for schedule(static)
        for (int64_t g = 0; g < groups; g++)
            for (int64_t i = g * GROUP; i < std::min(g * GROUP + GROUP, n); i++)
                sample(i, spare.data());
    }
    if (gradient) add_groups(sums, gradient);
}

#define EXPORT(SUFFIX, T)                                                                          \
    extern "C" void convolution_##SUFFIX(const T* in, const T* x, const T* taps, int64_t n,        \
                                         int64_t h, int64_t w, T* y, float* gradient,              \
                                         int threads) {                                            \
        convolution(in, x, taps, n, h, w, y, gradient, threads);                                   \
    }

EXPORT(float32, float)
EXPORT(bfloat16, bfloat16)
