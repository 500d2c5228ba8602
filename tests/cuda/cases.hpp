// Random products for a GPU: shapes with all their tails, views as awkward as the contract allows, and every kernel.
#pragma once

#include "cuda/device.hpp"
#include "cuda/schemes.hpp"
#include "gemm/matrices.hpp"
#include "gemm/oracle.hpp"

namespace qlite_test {

struct device_case {
  std::size_t m, n, k, group;
  device::choice kernel;
  bool aligned;    // rows of X on 16-byte boundaries
};

// hopper: whether a kernel of that family may be asked for.
inline device::choice random_choice(random_source& random, bool hopper) {
  device::choice c;
  c.family = static_cast<int>(random.integer(0, hopper ? 4 : 3));
  if (c.family == 2) {
    c.row_tiles = static_cast<int>(random.integer(1, 2));
    c.token_tiles = static_cast<int>(random.integer(1, 2));
    c.warps = static_cast<int>(random.pick<std::size_t>({1, 3, 4, 8, 16}));
  } else if (c.family == 3 && random.chance(0.3)) {
    c.row_tiles = c.warps = 4;
    c.token_tiles = 16;
  } else if (c.family == 3) {
    c.token_tiles = static_cast<int>(random.pick<std::size_t>({4, 8, 16}));
    c.warps = static_cast<int>(random.pick<std::size_t>({1, 2, 4, 8}));
    if (device::has_clusters()) c.cluster = static_cast<int>(random.pick<std::size_t>({1, 1, 2, 4, 8}));
  } else if (c.family == 4) {
    c.token_tiles = static_cast<int>(random.pick<std::size_t>({4, 8, 16, 32}));
    c.cluster = c.token_tiles == 32 || random.chance(0.5) ? 1 : static_cast<int>(random.integer(2, 8));
  }
  return c;
}

// Scheme: of the weights; Integer: with INT8 activations.
template <class Scheme, bool Integer>
device_case random_device_case(random_source& random) {
  device_case c;
  c.m = random.extent(0, 40);
  c.n = random.extent(0, 70);
  c.k = random.extent(0, 700);
  switch (random.bits() % 8) {
    case 0:    // more than one block of tokens
      c.m = random.integer(129, 280), c.n = random.integer(1, 60), c.k = random.integer(1, 200);
      break;
    case 1:    // more than one block of rows
      c.n = random.integer(250, 600), c.k = random.integer(1, 200);
      break;
    case 3:    // more than one block of either
      c.m = random.integer(100, 600), c.n = random.integer(100, 600), c.k = random.integer(1, 400);
      break;
    case 2:    // the ring of stages goes round
      c.k = random.integer(1000, 6000), c.m = random.integer(1, 20), c.n = random.integer(1, 40);
      break;
    default:
      break;
  }
  c.aligned = random.chance(0.5);
  if (c.aligned) c.k = c.k / 8 * 8;
  c.group = random.pick<std::size_t>({8, 16, 24, 32, 40, 64, 96, 128, 192, 1024, c.k == 0 ? 8 : c.k});
  using traits = qlite::detail::scheme_traits<Scheme>;
  const std::size_t group =
      traits::dynamic_group ? c.group : qlite::detail::static_group_size<typename traits::granularity>;
  const bool one_group = !traits::grouped || group >= c.k;
  const bool narrow = std::is_same_v<typename traits::scale, qlite::float16>;
  const bool scaled = !traits::grouped || (narrow && (one_group || group % 32 == 0));
  const bool hopper = c.k != 0 && !traits::has_offset && !traits::has_codebook &&
                      (Integer ? traits::bits == 8 && !traits::grouped && traits::is_symmetric : scaled);
  c.kernel = random_choice(random, hopper && device::has_hopper());
  const bool blocks = c.kernel.family == 3 && c.kernel.row_tiles == 4;
  if ((c.kernel.family == 4 || blocks) && random.chance(0.3)) {    // the ring of their stages goes round
    c.k = 8 * random.integer(blocks ? 30 : 150, 500);
    c.group = random.pick<std::size_t>({32, 64, 96, 128, 256, 1024});
    c.m = random.integer(1, 40), c.n = random.integer(1, 300);
    if (c.kernel.family == 4 && random.chance(0.5)) c.kernel.cluster = 1;
  } else if (blocks && random.chance(0.2)) {    // more than one strip of blocks
    c.m = random.integer(1020, 2200), c.n = random.integer(1, 600), c.k = 8 * random.integer(1, 10);
  }
  return c;
}

// X on the host: [m, k], rows `stride` apart.
template <class T>
struct device_input {
  std::size_t stride, shift;
  std::vector<T> values;
  std::vector<std::vector<float>> rows;

  device_input(random_source& random, std::size_t m, std::size_t k, bool aligned)
      : stride(k + (aligned ? 8 * random.integer(0, 2) : random.integer(0, 3))),
        shift(aligned ? 0 : random.integer(0, 3)),
        values(m == 0 ? 0 : (m - 1) * stride + k, from_float<T>(NAN)),
        rows(m, std::vector<float>(k)) {
    for (std::size_t r = 0; r < m; ++r) {
      const float scale = random.uniform(0.01f, 4.0f);
      for (std::size_t c = 0; c < k; ++c) put(r, c, scale * random.normal());
    }
  }
  void put(std::size_t r, std::size_t c, float x) {
    values[r * stride + c] = from_float<T>(x);
    rows[r][c] = to_float(values[r * stride + c]);
  }
};

// Y on the host, poisoned; what lies between the rows must keep the poison.
template <class T>
struct device_output {
  std::size_t m, n, stride, shift;
  std::vector<T> values;

  device_output(random_source& random, std::size_t rows, std::size_t cols)
      : m(rows),
        n(cols),
        stride(cols + random.pick<std::size_t>({0, 0, 1, 4, 7})),
        shift(random.pick<std::size_t>({0, 0, 1, 2})),
        values(rows == 0 ? 0 : (rows - 1) * stride + cols, from_float<T>(-12345.0f)) {}
  float at(std::size_t r, std::size_t c) const { return to_float(values[r * stride + c]); }
  bool gaps_are_intact() const {
    for (std::size_t i = 0; i < values.size(); ++i)
      if (i % stride >= n && to_float(values[i]) != to_float(from_float<T>(-12345.0f))) return false;
    return true;
  }
};

template <class TX, class TY>
device::request request_of(const device_input<TX>& x, device_output<TY>& y, const device_case& c) {
  device::request r;
  r.x = x.values.data();
  r.m = c.m;
  r.k = c.k;
  r.x_stride = x.stride;
  r.x_shift = x.shift;
  r.y = y.values.data();
  r.n = c.n;
  r.y_stride = y.stride;
  r.y_shift = y.shift;
  r.kernel = c.kernel;
  return r;
}

inline double gamma_of(double n, double u) { return n * u / (1.0 - n * u); }

}    // namespace qlite_test
