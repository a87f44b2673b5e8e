// Per-sample gradients of a convolution's weight, stride 1, "same" padding:
// out[n][t][i][o] = sum over pixels p of x[n][p + t][i] * g[n][p][o], for each tap t of the kernel.
// x: N×H×W×I, g: N×H×W×O with O a multiple of 16, out: N×(K·K)×I×O, all float.
#include <cstdint>

typedef float Vector __attribute__((vector_size(64), aligned(4)));

template <int TILE>
static void accumulate(const float *x, const float *g, float *out, int64_t h, int64_t w, int64_t in,
                       int64_t outputs, int64_t dy, int64_t dx) {
  const int64_t top = dy < 0 ? -dy : 0, bottom = dy > 0 ? h - dy : h;
  const int64_t left = dx < 0 ? -dx : 0, right = dx > 0 ? w - dx : w;
  Vector sums[TILE] = {};
  for (int64_t row = top; row < bottom; row++) {
    const float *from = x + ((row + dy) * w + dx) * in, *with = g + row * w * outputs;
    for (int64_t column = left; column < right; column++) {
      const Vector gradient = *(const Vector *)(with + column * outputs);
      for (int i = 0; i < TILE; i++) sums[i] += from[column * in + i] * gradient;
    }
  }
  for (int i = 0; i < TILE; i++) *(Vector *)(out + i * outputs) = sums[i];
}

extern "C" void convolution_gradients(const float *x, const float *g, float *out, int64_t n,
                                      int64_t h, int64_t w, int64_t in, int64_t outputs,
                                      int64_t side, int64_t threads) {
  const int64_t reach = side / 2;
#pragma omp parallel for num_threads(threads)
  for (int64_t sample = 0; sample < n; sample++) {
    const float *from = x + sample * h * w * in, *with = g + sample * h * w * outputs;
    float *to = out + sample * side * side * in * outputs;
    for (int64_t tap = 0; tap < side * side; tap++) {
      const int64_t dy = tap / side - reach, dx = tap % side - reach;
      for (int64_t o = 0; o < outputs; o += 16) {
        float *row = to + tap * in * outputs + o;
        const auto tile = [&](auto accumulate_tile, int64_t i) {
          accumulate_tile(from + i, with + o, row + i * outputs, h, w, in, outputs, dy, dx);
        };
        int64_t i = 0;
        for (; i + 16 <= in; i += 16) tile(accumulate<16>, i);
        for (; i + 4 <= in; i += 4) tile(accumulate<4>, i);
        if (in - i == 3) tile(accumulate<3>, i);
        if (in - i == 2) tile(accumulate<2>, i);
        if (in - i == 1) tile(accumulate<1>, i);
      }
    }
  }
}
