// Per-sample gradients of a convolution's weight, stride 1, "same" padding, S x S taps, S odd:
// out[n][dy][dx][i][o] = sum over pixels p of x[n][p + (dy, dx) - S/2][i] * g[n][p][o].
// x: N x H x W x I, g: N x H x W x O, out: N x S x S x I x O, all float, O at least LANES.
//
// With S/2 zeros around a sample, the S * I values that a row of taps meets at a pixel lie side by
// side: K of them times two vectors of outputs is a tile of sums that stays in registers. Vectors
// of outputs may overlap (the last one ends with the last output), so that any O will do.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

// As many floats as a register holds.
#ifdef __AVX512F__
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif
constexpr int64_t CACHED = 4096;  // Floats of x and g that pass again and again: half an L1 cache.

typedef float vec __attribute__((vector_size(4 * LANES)));

static inline vec load(const float* p) {
    vec v;
    std::memcpy(&v, p, sizeof(v));
    return v;
}

#define EACH(I, COUNT) _Pragma("GCC unroll 16") for (int I = 0; I < COUNT; I++)

struct Shape {
    int64_t h, w, in, out, side;
    int64_t margin() const { return side / 2; }
    int64_t pitch() const { return (w + side - 1) * in; }  // Of the rows of a padded sample.
    int64_t row() const { return side * in; }              // Values that a row of taps meets.
    int64_t vectors() const { return (out + LANES - 1) / LANES; }
    int64_t start(int64_t vector) const { return std::min(vector * LANES, out - LANES); }
};

// Adds to sums[k][v], for K values from `padded` on and V vectors from `at` on, the products at all
// pixels of some rows.
template <int K, int V>
static void add_products(const float* padded, const float* g, Shape s, int64_t rows, int64_t at,
                         vec* sums) {
    const int64_t o[2] = {s.start(at), s.start(at + V - 1)}, stride = s.vectors();
    vec tile[K][V];
    EACH(k, K) EACH(v, V) tile[k][v] = sums[k * stride + at + v];
    for (int64_t row = 0; row < rows; row++) {
        const float* from = padded + row * s.pitch();
        for (int64_t column = 0; column < s.w; column++, from += s.in, g += s.out) {
            vec gradient[V];
            EACH(v, V) gradient[v] = load(g + o[v]);
            EACH(k, K) EACH(v, V) tile[k][v] += from[k] * gradient[v];
        }
    }
    EACH(k, K) EACH(v, V) sums[k * stride + at + v] = tile[k][v];
}

// The same for all values that a row of taps meets, and all vectors.
static void add_row(const float* padded, const float* g, Shape s, int64_t rows, vec* sums) {
    for (int64_t at = 0; at < s.vectors(); at += 2) {
        int64_t k = 0;
        const auto tiles = [&](auto add, int64_t size) {
            for (; k + size <= s.row(); k += size)
                add(padded + k, g, s, rows, at, sums + k * s.vectors());
        };
        if (at + 1 < s.vectors()) {
            tiles(add_products<6, 2>, 6);
            tiles(add_products<3, 2>, 3);
            tiles(add_products<1, 2>, 1);
        } else {
            tiles(add_products<12, 1>, 12);
            tiles(add_products<3, 1>, 3);
            tiles(add_products<1, 1>, 1);
        }
    }
}

// One sample's gradient; `padded` has a margin of zeros, and it and `sums` are used again.
static void gradient(const float* x, const float* g, Shape s, float* padded, vec* sums, float* out) {
    for (int64_t row = 0; row < s.h; row++)
        std::memcpy(padded + (row + s.margin()) * s.pitch() + s.margin() * s.in,
                    x + row * s.w * s.in, sizeof(float) * s.w * s.in);
    const int64_t taps = s.side * s.row(), strip = CACHED / (s.w * (s.in + s.out)) + 1;
    std::fill(sums, sums + taps * s.vectors(), vec{});
    for (int64_t top = 0; top < s.h; top += strip)
        for (int64_t dy = 0; dy < s.side; dy++)
            add_row(padded + (top + dy) * s.pitch(), g + top * s.w * s.out, s,
                    std::min(strip, s.h - top), sums + dy * s.row() * s.vectors());
    for (int64_t tap = 0; tap < taps; tap++)
        for (int64_t v = 0; v < s.vectors(); v++)
            std::memcpy(out + tap * s.out + s.start(v), sums + tap * s.vectors() + v, sizeof(vec));
}

extern "C" int lanes() { return LANES; }

extern "C" void convolution_gradients(const float* x, const float* g, float* out, int64_t n,
                                      int64_t h, int64_t w, int64_t in, int64_t outputs,
                                      int64_t side, int64_t threads) {
    const Shape s{h, w, in, outputs, side};
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> padded((h + side - 1) * s.pitch());
        std::vector<vec> sums(side * s.row() * s.vectors());
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n; i++)
            gradient(x + i * h * w * in, g + i * h * w * outputs, s, padded.data(), sums.data(),
                     out + i * side * s.row() * outputs);
    }
}
