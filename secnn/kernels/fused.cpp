// y = LeakyReLU(MaxPool2(BatchNorm(x * mask))) and its gradients, on channels-last tensors.
//
// Compiled once for each number of channels (CHANNELS), so that the loops over channels unroll into
// a few vector instructions, whatever the number is. x is N x H x W x CHANNELS, mask N x CHANNELS
// or null (all ones). `threads` split the samples; each sums in double precision on its own, and
// the sums are added in order, so that a result depends on the number of threads but not on their
// timing.
#include <cstdint>
#include <vector>

#include "vectors.h"

constexpr int C = CHANNELS, CHUNKS = chunks(C);
typedef Values<C> Channels;

#define EACH_CHUNK EACH(i, CHUNKS)

static inline Channels times_mask(Channels values, const float* mask, int64_t n) {
    if (!mask) return values;
    EACH_CHUNK values.v[i] *= load<C>(mask + n * C, i);
    return values;
}

struct Shape {
    int64_t n, h, w;
    bool pool;
    int64_t image() const { return h * w * C; }
    int64_t rows() const { return pool ? h / 2 : h; }
    int64_t columns() const { return pool ? w / 2 : w; }
    int64_t output() const { return rows() * columns() * C; }
    // Where the window (or, without pooling, the pixel) of an output begins.
    int64_t window(int64_t row, int64_t column) const {
        return pool ? (2 * row * w + 2 * column) * C : (row * w + column) * C;
    }
};

// Runs body(sample, sums of this thread) for every sample; adds the threads' sums into `total`.
template <int SUMS, class Body>
static void over_samples(const Shape& s, int threads, double* total, Body body) {
    std::vector<double> sums(size_t(threads) * SUMS * C + 1, 0.0);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int t = 0; t < threads; t++)
        for (int64_t n = s.n * t / threads; n < s.n * (t + 1) / threads; n++)
            body(n, sums.data() + size_t(t) * SUMS * C);
    for (int t = 0; t < threads; t++)
        for (int k = 0; k < SUMS * C; k++) total[k] += sums[size_t(t) * SUMS * C + k];
}

// The largest of a window's normalised values and what it was made of; the first of equals.
struct Window {
    vec x[4], z, best;
    word at;
};

template <bool POOL, class T>
static inline Window look(const T* p, int64_t below, int i, vec scale, vec offset) {
    Window s;
    s.best = s.x[0] = load<C>(p, i);
    s.z = scale * s.x[0] + offset;
    s.at = word{};
    if (!POOL) return s;
    s.x[1] = load<C>(p + C, i);
    s.x[2] = load<C>(p + below, i);
    s.x[3] = load<C>(p + below + C, i);
    for (int k = 1; k < 4; k++) {
        vec z = scale * s.x[k] + offset;
        auto larger = z > s.z;
        s.best = larger ? s.x[k] : s.best;
        s.at = larger ? word{} + k : s.at;
        s.z = larger ? z : s.z;
    }
    return s;
}

// Sums of v and v^2 for each channel, v = x * mask - shift. A shift near the mean keeps the
// variance, the difference of two sums, accurate.
template <class T>
static void statistics(const T* x, const float* mask, const float* shift, Shape s, double* total,
                       int threads) {
    Channels middle = Channels(shift), ones;
    EACH_CHUNK ones.v[i] = vec{} + 1.0f;
    over_samples<2>(s, threads, total, [=](int64_t n, double* sums) {
        Channels m = times_mask(ones, mask, n);
        for (int64_t row = 0; row < s.h; row++) {
            const T* p = x + n * s.image() + row * s.w * C;
            Channels first = {}, second = {};
            for (int64_t column = 0; column < s.w; column++, p += C) EACH_CHUNK {
                vec v = load<C>(p, i) * m.v[i] - middle.v[i];
                first.v[i] += v;
                second.v[i] += v * v;
            }
            add_to(sums, first);
            add_to(sums + C, second);
        }
    });
}

// y = LeakyReLU(pool(x * mask * scale + offset)).
template <bool POOL, class T>
static void activate(const T* x, const float* mask, const float* scale, const float* offset,
                     float slope, Shape s, T* y, int threads) {
    Channels a0 = Channels(scale), b = Channels(offset);
    over_samples<0>(s, threads, nullptr, [=](int64_t n, double*) {
        Channels a = times_mask(a0, mask, n);
        T* out = y + n * s.output();
        for (int64_t row = 0; row < s.rows(); row++)
            for (int64_t column = 0; column < s.columns(); column++, out += C) {
                const T* p = x + n * s.image() + s.window(row, column);
                EACH_CHUNK {
                    vec z = look<POOL>(p, s.w * C, i, a.v[i], b.v[i]).z;
                    store<C>(out, i, z * slope_at(z, slope));
                }
            }
    });
}

// For each channel the sums of dz and of dz * (x * mask - mean), where dz is the gradient of the
// batch norm's output: dy through the LeakyReLU, at the largest of each window.
template <bool POOL, class T>
static void reduce(const T* x, const float* mask, const float* mean, const float* scale,
                   const float* offset, const T* dy, float slope, Shape s, double* total,
                   int threads) {
    Channels a0 = Channels(scale), b = Channels(offset), middle = Channels(mean), ones;
    EACH_CHUNK ones.v[i] = vec{} + 1.0f;
    over_samples<2>(s, threads, total, [=](int64_t n, double* sums) {
        Channels m = times_mask(ones, mask, n), a = times_mask(a0, mask, n);
        const T* grad = dy + n * s.output();
        for (int64_t row = 0; row < s.rows(); row++) {
            Channels first = {}, second = {};
            for (int64_t column = 0; column < s.columns(); column++, grad += C) {
                const T* p = x + n * s.image() + s.window(row, column);
                EACH_CHUNK {
                    Window seen = look<POOL>(p, s.w * C, i, a.v[i], b.v[i]);
                    vec dz = load<C>(grad, i) * slope_at(seen.z, slope);
                    first.v[i] += dz;
                    second.v[i] += dz * (seen.best * m.v[i] - middle.v[i]);
                }
            }
            add_to(sums, first);
            add_to(sums + C, second);
        }
    });
}

// dx = mask * (scale * dz + constant + linear * x * mask).
template <bool POOL, class T>
static void gradient(const T* x, const float* mask, const float* scale, const float* offset,
                     const float* constant, const float* linear, const T* dy, float slope, Shape s,
                     T* dx, int threads) {
    Channels a0 = Channels(scale), b = Channels(offset);
    Channels k0 = Channels(constant), l0 = Channels(linear);
    over_samples<0>(s, threads, nullptr, [=](int64_t n, double*) {
        Channels a = times_mask(a0, mask, n), k = times_mask(k0, mask, n);
        Channels l = times_mask(times_mask(l0, mask, n), mask, n);
        const T* image = x + n * s.image();
        T* out = dx + n * s.image();
        const T* grad = dy + n * s.output();
        for (int64_t row = 0; row < s.rows(); row++)
            for (int64_t column = 0; column < s.columns(); column++, grad += C) {
                int64_t start = s.window(row, column), below = s.w * C;
                EACH_CHUNK {
                    Window seen = look<POOL>(image + start, below, i, a.v[i], b.v[i]);
                    vec dz = a.v[i] * load<C>(grad, i) * slope_at(seen.z, slope);
                    for (int e = 0; e < (POOL ? 4 : 1); e++) {
                        vec here = POOL ? (seen.at == uint32_t(e) ? dz : vec{}) : dz;
                        T* q = out + start + (e / 2) * below + (e % 2) * C;
                        store<C>(q, i, here + k.v[i] + l.v[i] * seen.x[e]);
                    }
                }
            }
        // An odd row or column is in no window.
        for (int64_t row = 0; POOL && row < s.h; row++)
            for (int64_t column = row < s.h / 2 * 2 ? s.w / 2 * 2 : 0; column < s.w; column++) {
                int64_t e = (row * s.w + column) * C;
                EACH_CHUNK store<C>(out + e, i, k.v[i] + l.v[i] * load<C>(image + e, i));
            }
    });
}

#define EXPORT(SUFFIX, T)                                                                          \
    extern "C" void statistics_##SUFFIX(const T* x, const float* mask, const float* shift,         \
                                        int64_t n, int64_t h, int64_t w, double* total,            \
                                        int threads) {                                             \
        statistics(x, mask, shift, Shape{n, h, w, false}, total, threads);                         \
    }                                                                                              \
    extern "C" void activate_##SUFFIX(const T* x, const float* mask, const float* scale,           \
                                      const float* offset, float slope, int pool, int64_t n,       \
                                      int64_t h, int64_t w, T* y, int threads) {                   \
        auto run = pool ? activate<true, T> : activate<false, T>;                                  \
        run(x, mask, scale, offset, slope, Shape{n, h, w, pool != 0}, y, threads);                 \
    }                                                                                              \
    extern "C" void reduce_##SUFFIX(const T* x, const float* mask, const float* mean,              \
                                    const float* scale, const float* offset, const T* dy,          \
                                    float slope, int pool, int64_t n, int64_t h, int64_t w,        \
                                    double* total, int threads) {                                  \
        auto run = pool ? reduce<true, T> : reduce<false, T>;                                      \
        run(x, mask, mean, scale, offset, dy, slope, Shape{n, h, w, pool != 0}, total, threads);   \
    }                                                                                              \
    extern "C" void gradient_##SUFFIX(const T* x, const float* mask, const float* scale,           \
                                      const float* offset, const float* constant,                  \
                                      const float* linear, const T* dy, float slope, int pool,     \
                                      int64_t n, int64_t h, int64_t w, T* dx, int threads) {       \
        auto run = pool ? gradient<true, T> : gradient<false, T>;                                  \
        run(x, mask, scale, offset, constant, linear, dy, slope, Shape{n, h, w, pool != 0}, dx,    \
            threads);                                                                              \
    }

EXPORT(float32, float)
EXPORT(bfloat16, bfloat16)
