// A depthwise 3 x 3 convolution, stride 1, zeros around, of images whose pixels hold CHANNELS values,
// padded with zeros to CP, and the gradient of its taps. Rows are taken two at a time: a Pair holds
// the values of two rows at a pixel, so that what it adds to a sum is one instruction where the
// processor multiplies pairs of bfloat16.
#pragma once
#include "product.h"

constexpr int TAPS = 9, C = CHANNELS, CP = chunks(C) * LANES;

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

// Rows `row` and `row` + 1 of the convolution of x, to y and `below`, for a chunk from channel c on.
template <class T>
INLINE void convolve(const Image<T>& x, int64_t row, int c, const T* taps, T* y, T* below) {
    using P = Pair<T>;
    P of_y[2][3], of_below[2][3];  // What each pair of rows of x counts there, by column of taps.
    EACH(k, 3) {
        const T *w0 = taps + k * CP + c, *w1 = w0 + 3 * CP, *w2 = w1 + 3 * CP;
        of_y[0][k] = P::of(w0, w1), of_y[1][k] = P::of(w2, x.zeros);
        of_below[0][k] = P::of(x.zeros, w0), of_below[1][k] = P::of(w1, w2);
    }
    const T* in[4];
    EACH(k, 4) in[k] = x.row(row + k - 1) + c;
    // Sums that lack the columns to come; a column ends one and begins another.
    vec here[2] = {}, right[2] = {}, done[2];
    const auto column = [&](int64_t at) __attribute__((always_inline)) {
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
    int64_t at = CP;
    for (; at < x.pitch; at += CP) {
        column(at);
        store(y + at - CP, done[0]);
        store(below + at - CP, done[1]);
    }
    store(y + at - CP, here[0]);
    store(below + at - CP, here[1]);
}

// Adds to `total` what rows `row` and `row` + 1 of dy count in the gradient of each tap.
template <class T>
INLINE void correlate(const Image<T>& x, const Image<T>& dy, int64_t row, int c, float* total) {
    using P = Pair<T>;
    const T *in[4], *upper = dy.row(row) + c, *lower = dy.row(row + 1) + c;
    EACH(k, 4) in[k] = x.row(row + k - 1) + c;
    vec sums[TAPS] = {};
    P left = P::of(dy.zeros, dy.zeros), here = P::of(upper, lower);
    const auto column = [&](int64_t at, P right) __attribute__((always_inline)) {
        EACH(k, 3) {
            const P p = P::of(in[k] + at, in[k + 1] + at);
            sums[3 * k] = P::add(sums[3 * k], p, right);
            sums[3 * k + 1] = P::add(sums[3 * k + 1], p, here);
            sums[3 * k + 2] = P::add(sums[3 * k + 2], p, left);
        }
        left = here, here = right;
    };
    int64_t at = 0;
    for (; at < x.pitch - CP; at += CP) column(at, P::of(upper + at + CP, lower + at + CP));
    column(at, P::of(dy.zeros, dy.zeros));
    EACH(k, TAPS) store(total + k * CP + c, load(total + k * CP + c) + sums[k]);
}

// CHANNELS x 9 weights as TAPS x CP, turned by 180 degrees for the gradient.
template <class T>
static void pack_taps(const float* weight, bool turned, T* taps) {
    for (int k = 0; k < TAPS; k++)
        for (int c = 0; c < C; c++)
            put(taps + k * CP + c, weight[c * TAPS + (turned ? TAPS - 1 - k : k)]);
}
