// 1 x 1 convolution -> depthwise 3 x 3 convolution, stride 1, zeros around, and its gradients, on
// channels-last tensors, with what stands before and behind it in a residual unit.
//
// Compiled once for each pair of numbers of channels (INPUTS, CHANNELS). An image at a time, so that
// what lies between the two convolutions never leaves the cache; the backward pass computes it anew.
// In the cache a pixel's channels are padded with zeros to whole registers. Sums are of float32.
// `threads` split the samples; what is summed over samples is summed in groups of them and then over
// the groups, always the same ones, so that no result depends on the number of threads.
#include <vector>

#include "depthwise.h"

constexpr int I = INPUTS, IN = chunks(I), OUT = chunks(C), IP = IN * LANES;
constexpr int64_t GROUPS = 16;

// ---- What is before and behind --------------------------------------------------------------

// What is read is LeakyReLU(in * scale + offset), or `in` itself where scale is null.
struct Before {
    const float *scale, *offset;
    float slope;
};

template <class T>
static void read(const T* in, const Before& before, int64_t pixels, T* x) {
    const Values<I> scale(before.scale), offset(before.offset);
    for (int64_t p = 0; p < pixels; p++, in += I, x += IP) EACH(i, IN) {
        vec v = load<I>(in, i);
        if (before.scale) {
            v = v * scale.v[i] + offset.v[i];
            v *= slope_at(v, before.slope);
        }
        store(x + i * LANES, v);
    }
}

// Writes y without its padding; adds the sums of v = y - shift and of v^2.
template <class T>
static void write(const T* y, int64_t pixels, const Values<C>& shift, T* out, double* sums) {
    Values<C> first, second;
    for (int64_t p = 0; p < pixels; p++, y += CP, out += C) EACH(i, OUT) {
        const vec v = load(y + i * LANES);
        store<C>(out, i, v);
        first.v[i] += v - shift.v[i];
        second.v[i] += (v - shift.v[i]) * (v - shift.v[i]);
    }
    add_to(sums, first);
    add_to(sums + C, second);
}

struct Size {
    int64_t n, h, w;
    int64_t pixels() const { return h * w; }
    int64_t padded() const { return h * w + h * w % 2; }  // `Dot` may take two at once.
};

// body(group, scratch of a thread, sample) for all samples, in order within a group.
template <class Scratch, class Body>
static void over_groups(const Size& s, int threads, Body body) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        Scratch scratch(s);
#pragma omp for schedule(static)
        for (int64_t g = 0; g < GROUPS; g++)
            for (int64_t i = s.n * g / GROUPS; i < s.n * (g + 1) / GROUPS; i++)
                body(g, scratch, i);
    }
}

template <class From, class To>
static void add_groups(const From* sums, int64_t size, To* out) {
    for (int64_t k = 0; k < size; k++) {
        double total = 0;
        for (int64_t g = 0; g < GROUPS; g++) total += sums[g * size + k];
        out[k] = To(total);
    }
}

// ---- Forward and backward -------------------------------------------------------------------

template <class T>
struct Forward {
    Buffer<T> x, between, y, zeros;
    explicit Forward(const Size& s)
        : x(s.padded() * IP), between(s.padded() * CP), y((s.padded() + s.w) * CP), zeros(s.w * CP) {}
};

template <class T>
static void depthwise(const T* x, const T* zeros, const T* taps, const Size& s, T* y) {
    const Image<T> image{x, zeros, s.h, s.w * CP};
    for (int64_t row = 0; row < s.h; row += 2)  // There is room for a row below the last one.
        EACH(k, OUT) {
            T* to = y + row * image.pitch + k * LANES;
            convolve(image, row, k * LANES, taps, to, to + image.pitch);
        }
}

// `out` is N x H x W x CHANNELS, `sums` what `write` adds, 2 x CHANNELS.
template <class T>
static void forward(const T* in, Before before, const float* pointwise, const float* weight,
                    const float* shift, Size s, T* out, double* sums, int threads) {
    const Packed<T, I, C> weights(pointwise, 1, I);
    const Buffer<T> taps(TAPS * CP);
    pack_taps(weight, false, taps.data);
    const Values<C> middle(shift);
    std::vector<double> groups(GROUPS * 2 * C);
    over_groups<Forward<T>>(s, threads, [&](int64_t g, Forward<T>& to, int64_t i) {
        read(in + i * s.pixels() * I, before, s.pixels(), to.x.data);
        weights.apply(to.x, s.pixels(), to.between);
        depthwise<T>(to.between, to.zeros, taps, s, to.y);
        write<T>(to.y, s.pixels(), middle, out + i * s.pixels() * C, groups.data() + g * 2 * C);
    });
    add_groups(groups.data(), 2 * C, sums);
}

// The gradient of the convolutions' output: of a batch norm behind them, from that of the norm's
// output `dz`: factor * dz + constant + linear * out; or, where `out` is null, dz.
template <class T>
struct Behind {
    const T *dz, *out;
    const float *factor, *constant, *linear;

    void read(int64_t at, int64_t pixels, T* dy) const {
        const Values<C> f(factor), k(constant), l(linear);
        const T *d = dz + at * C, *y = out ? out + at * C : d;
        for (int64_t p = 0; p < pixels; p++, d += C, y += C, dy += CP) EACH(i, OUT) {
            vec v = load<C>(d, i);
            if (out) v = f.v[i] * v + k.v[i] + l.v[i] * load<C>(y, i);
            store(dy + i * LANES, v);
        }
    }
};

template <class T, int STRIDE>  // Two pixels' values by turns, as `Dot` reads them.
static const T* by_turns(const T* x, int64_t pixels, T* mixed) {
    if constexpr (Dot<T>::STEP == 1) return x;
#ifdef PAIRED
    else
        for (int64_t p = 0; p < pixels; p += 2, x += 2 * STRIDE)
            for (int c = 0; c < STRIDE; c += LANES, mixed += 2 * LANES) {
                const auto pair = Pair<T>::of(x + c, x + STRIDE + c).mixed;
                std::memcpy(mixed, &pair, sizeof(pair));
            }
    return mixed - (pixels + 1) / 2 * 2 * STRIDE;
#endif
}

template <class T>
struct Backward {
    Buffer<T> x, between, dy, d_between, dx, x_mixed, d_mixed, zeros;
    explicit Backward(const Size& s)
        : x(s.padded() * IP), between(s.padded() * CP), dy(s.padded() * CP),
          d_between((s.padded() + s.w) * CP), dx(s.padded() * IP), x_mixed(s.padded() * IP),
          d_mixed(s.padded() * CP), zeros(s.w * CP) {}
};

// Writes the gradient of `in`, or, where there is something before, of in * scale + offset, with
// the sums of it and of it times (in - mean). `skipped`, if there, is added.
template <class T>
static void write_back(const T* dx, const T* in, const Before& before, const Values<I>& mean,
                       const T* skipped, int64_t pixels, T* d_in, double* sums) {
    const Values<I> scale(before.scale), offset(before.offset);
    Values<I> first, second;
    for (int64_t p = 0; p < pixels; p++, dx += IP, in += I, d_in += I) EACH(i, IN) {
        vec d = load(dx + i * LANES);
        if (before.scale) {
            const vec v = load<I>(in, i);
            d *= slope_at(v * scale.v[i] + offset.v[i], before.slope);
            first.v[i] += d;
            second.v[i] += d * (v - mean.v[i]);
        }
        if (skipped) d += load<I>(skipped + p * I, i);
        store<I>(d_in, i, d);
    }
    if (!before.scale) return;
    add_to(sums, first);
    add_to(sums + I, second);
}

// The gradients of `in`, of the 1 x 1 convolution (CHANNELS x INPUTS) and of the depthwise one
// (CHANNELS x 9); see `write_back` for the first and for `sums`, 2 x INPUTS.
template <class T>
static void backward(Behind<T> behind, const T* in, Before before, const float* mean,
                     const float* pointwise, const float* weight, const T* skipped, Size s, T* d_in,
                     float* d_pointwise, float* d_weight, double* sums, int threads) {
    constexpr int STEP = Dot<T>::STEP;
    const Packed<T, I, C> weights(pointwise, 1, I);
    const Packed<T, C, I> back(pointwise, I, 1);
    const Buffer<T> turned(TAPS * CP);
    pack_taps(weight, true, turned.data);
    const Values<I> middle(mean);
    const Buffer<float> by_tap(GROUPS * TAPS * CP), by_pair(GROUPS * C * IP);
    std::vector<double> groups(GROUPS * 2 * I);
    over_groups<Backward<T>>(s, threads, [&](int64_t g, Backward<T>& to, int64_t i) {
        const int64_t at = i * s.pixels();
        read(in + at * I, before, s.pixels(), to.x.data);
        weights.apply(to.x, s.pixels(), to.between);
        behind.read(at, s.pixels(), to.dy);
        const Image<T> between{to.between, to.zeros, s.h, s.w * CP};
        const Image<T> dy{to.dy, to.zeros, s.h, s.w * CP};
        for (int64_t row = 0; row < s.h; row += 2)
            EACH(k, OUT) correlate(between, dy, row, k * LANES, by_tap + g * TAPS * CP);
        depthwise<T>(to.dy, to.zeros, turned, s, to.d_between);
        if (s.pixels() % 2) std::fill_n(to.d_between + s.pixels() * CP, CP, T{});
        back.apply(to.d_between, s.pixels(), to.dx);
        float* pairs = by_pair + g * C * IP;
        product<IN, STEP, CP * STEP, IP * STEP>(
            by_turns<T, CP>(to.d_between, s.pixels(), to.d_mixed),
            by_turns<T, IP>(to.x, s.pixels(), to.x_mixed), s.padded() / STEP, C,
            [=](int64_t o, int c, vec v) __attribute__((always_inline)) {
                float* p = pairs + o * IP + c * LANES;
                store(p, load(p) + v);
            });
        write_back<T>(to.dx, in + at * I, before, middle, skipped ? skipped + at * I : nullptr,
                      s.pixels(), d_in + at * I, groups.data() + g * 2 * I);
    });
    std::vector<float> taps(TAPS * CP), all(C * IP);
    add_groups(by_tap.data, TAPS * CP, taps.data());
    add_groups(by_pair.data, C * IP, all.data());
    add_groups(groups.data(), 2 * I, sums);
    for (int c = 0; c < C; c++) {
        for (int k = 0; k < TAPS; k++) d_weight[c * TAPS + k] = taps[k * CP + c];
        std::copy_n(all.data() + c * IP, I, d_pointwise + c * I);
    }
}

// y = x + z * scale + offset, pixels x CHANNELS.
template <class T>
static void add(const T* x, const T* z, const float* scale, const float* offset, int64_t pixels,
                T* y, int threads) {
    const Values<C> a(scale), b(offset);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t p = 0; p < pixels; p++)
        EACH(i, OUT) {
            const vec v = load<C>(z + p * C, i) * a.v[i] + b.v[i];
            store<C>(y + p * C, i, load<C>(x + p * C, i) + v);
        }
}

#define EXPORT(SUFFIX, T)                                                                          \
    extern "C" void forward_##SUFFIX(const T* in, const float* scale, const float* offset,         \
                                     float slope, const float* pointwise, const float* weight,     \
                                     const float* shift, int64_t n, int64_t h, int64_t w, T* out,  \
                                     double* sums, int threads) {                                  \
        forward(in, {scale, offset, slope}, pointwise, weight, shift, {n, h, w}, out, sums,        \
                threads);                                                                          \
    }                                                                                              \
    extern "C" void backward_##SUFFIX(                                                             \
        const T* dz, const T* out, const float* factor, const float* constant,                     \
        const float* linear, const T* in, const float* scale, const float* offset, float slope,    \
        const float* mean, const float* pointwise, const float* weight, const T* skipped, int64_t n, \
        int64_t h, int64_t w, T* d_in, float* d_pointwise, float* d_weight, double* sums,          \
        int threads) {                                                                             \
        backward<T>({dz, out, factor, constant, linear}, in, {scale, offset, slope}, mean,         \
                    pointwise, weight, skipped, {n, h, w}, d_in, d_pointwise, d_weight,      \
                    sums, threads);                                                                \
    }                                                                                              \
    extern "C" void add_##SUFFIX(const T* x, const T* z, const float* scale, const float* offset,  \
                                 int64_t pixels, T* y, int threads) {                              \
        add(x, z, scale, offset, pixels, y, threads);                                              \
    }

EXPORT(float32, float)
EXPORT(bfloat16, bfloat16)
