// Products of matrices of few columns, whose sums stay in registers.
#pragma once
#include <algorithm>
#include <new>

#include "vectors.h"

constexpr int ROWS = LANES / 2, COLUMNS = 3;  // ROWS x COLUMNS sums, COLUMNS factors: the registers.

template <class T>
struct Buffer {
    T* data;
    explicit Buffer(int64_t size) {
        data = static_cast<T*>(::operator new(size * sizeof(T), std::align_val_t(64)));
        std::memset((void*)data, 0, size * sizeof(T));
    }
    ~Buffer() { ::operator delete(data, std::align_val_t(64)); }
    Buffer(const Buffer&) = delete;
    operator T*() const { return data; }
};

// STEP terms of a sum at once: `row` holds STEP factors for each lane, `spread` STEP for all lanes.
template <class T>
struct Dot {
    static constexpr int STEP = 1;
    typedef vec Row;
    INLINE vec spread(const T* p) {
        T same[LANES];
        EACH(l, LANES) same[l] = *p;
        return load(same);
    }
    INLINE Row row(const T* p) { return load(p); }
    INLINE vec add(vec sum, vec a, Row b) { return sum + a * b; }
};

template <>
inline vec Dot<float>::spread(const float* p) { return vec{} + *p; }

#ifdef PAIRED
template <>
struct Dot<bfloat16> {
    static constexpr int STEP = 2;
    typedef __m512i Row;
    INLINE Row spread(const bfloat16* p) { return _mm512_set1_epi32(get<int>(p)); }
    INLINE Row row(const bfloat16* p) { return get<__m512i>(p); }
    INLINE vec add(vec sum, Row a, Row b) {
        return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
    }
};
#endif

// put(r, c, sum over k of a[r, k] * b[k, chunk c]). Of a, rows are A apart and steps S; of b, steps
// are B.
template <int R, int N, int A, int S, int B, class T, class Put>
INLINE void block(const T* a, const T* b, int64_t steps, Put put) {
    using D = Dot<T>;
    vec sums[R][N] = {};
    for (int64_t k = 0; k < steps; k++, a += S, b += B) {
        typename D::Row factors[N];
        EACH(c, N) factors[c] = D::row(b + c * LANES * D::STEP);
        EACH(r, R) {
            const auto x = D::spread(a + r * A);
            EACH(c, N) sums[r][c] = D::add(sums[r][c], x, factors[c]);
        }
    }
    EACH(r, R) EACH(c, N) put(r, c, sums[r][c]);
}

template <int CHUNKS, int A, int S, int B, int FROM = 0, class T, class Put>
static void product(const T* a, const T* b, int64_t steps, int64_t rows, Put put) {
    constexpr int N = std::min(CHUNKS - FROM, COLUMNS);
    const T* here = b + FROM * LANES * Dot<T>::STEP;
    int64_t r = 0;
    const auto shifted = [&](int i, int c, vec v) __attribute__((always_inline)) {
        put(r + i, FROM + c, v);
    };
    for (; r + ROWS <= rows; r += ROWS) block<ROWS, N, A, S, B>(a + r * A, here, steps, shifted);
    for (; r < rows; r++) block<1, N, A, S, B>(a + r * A, here, steps, shifted);
    if constexpr (FROM + N < CHUNKS) product<CHUNKS, A, S, B, FROM + N>(a, b, steps, rows, put);
}

constexpr int even(int n) { return n + n % 2; }

// FROM x TO weights as `product` reads them: STEP rows next to one another for each lane.
template <class T, int FROM, int TO>
struct Packed {
    static constexpr int STEP = Dot<T>::STEP, STRIDE = chunks(TO) * LANES * STEP;
    static constexpr int STEPS = (FROM + STEP - 1) / STEP;
    Buffer<T> data{int64_t(STEPS) * STRIDE};

    // Weight (from, to) is w[from * by_from + to * by_to].
    Packed(const float* w, int by_from, int by_to) {
        for (int k = 0; k < FROM; k++)
            for (int o = 0; o < TO; o++)
                put(data + k / STEP * STRIDE + o * STEP + k % STEP, w[k * by_from + o * by_to]);
    }

    // out[p, o] = sum over k of in[p, k] * weight (k, o), both padded.
    void apply(const T* in, int64_t pixels, T* out) const {
        constexpr int TP = chunks(TO) * LANES;
        product<chunks(TO), chunks(FROM) * LANES, STEP, STRIDE>(
            in, data.data, STEPS, pixels,
            [=](int64_t p, int c, vec v) __attribute__((always_inline)) {
                store(out + p * TP + c * LANES, v);
            });
    }
};
