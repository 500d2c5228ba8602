#include "cuda/kernels/device.cuh"

using namespace qlite_test;
namespace ql = qlite;
namespace epilogue = qlite::epilogue;

namespace {

struct affine {
  __host__ __device__ float operator()(float y, std::size_t row, std::size_t column) const {
    return y + static_cast<float>(row) - 2.0f * static_cast<float>(column);
  }
};

template <class T>
struct copy {
  device::memory data;
  explicit copy(const std::vector<T>& v) : data(v.size() * sizeof(T)) {
    cudaMemcpy(data.data(), v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice);
  }
  const T* get() { return data.at<T>(); }
};

}    // namespace

int qlite_test::device::product_with_epilogue(int which,
                                              const ql::quantized_view<ql::scheme<ql::int8, ql::per_channel>>& q,
                                              const float* x, std::size_t m, const operands& o, float* y,
                                              const choice& kernel) {
  using scheme = ql::scheme<ql::int8, ql::per_channel>;
  const std::size_t n = q.rows(), k = q.cols();
  copy<float> matrix(o.matrix), vector(o.vector);
  copy<ql::float16> matrix16(o.matrix16), vector16(o.vector16);
  copy<ql::bfloat16> matrix_b(o.matrix_b), vector_b(o.vector_b);
  if (which == 4) {
    std::vector<ql::float16> narrow(m * n);
    request r;
    r.x = x, r.m = m, r.k = k, r.x_stride = k, r.y = narrow.data(), r.n = n, r.y_stride = n, r.kernel = kernel;
    const int status =
        with_operands<scheme, float, ql::float16>(q, r, [&](auto xv, const auto& w, auto yv, cudaStream_t s) {
          return multiply(ql::dynamic<ql::int8>(xv), w, yv,
                          epilogue::chain(epilogue::gelu_tanh{}, epilogue::bias{vector16.get(), n}), r, s);
        });
    for (std::size_t i = 0; i < m * n; ++i) y[i] = narrow[i].to_float();
    return status;
  }
  request r;
  r.x = x, r.m = m, r.k = k, r.x_stride = k, r.y = y, r.n = n, r.y_stride = n, r.kernel = kernel;
  return with_operands<scheme, float, float>(q, r, [&](auto xv, const auto& w, auto yv, cudaStream_t s) {
    const auto form = ql::dynamic<ql::int8>(xv);
    const ql::matrix_view<const float> m32{matrix.get(), m, n};
    const ql::matrix_view<const ql::float16> m16{matrix16.get(), m, n};
    const ql::matrix_view<const ql::bfloat16> mb{matrix_b.get(), m, n};
    switch (which) {
      case 0:
        return multiply(form, w, yv, epilogue::chain(epilogue::bias{vector.get(), n}, epilogue::gelu{}), r, s);
      case 1:
        return multiply(form, w, yv,
                        epilogue::chain(epilogue::multiply{m16}, epilogue::residual{m32}, epilogue::relu{}), r, s);
      case 2:
        return multiply(form, w, yv, epilogue::chain(epilogue::silu{}, epilogue::multiply{mb}), r, s);
      case 3:    // in place: Y holds the residual
        return multiply(form, w, yv, epilogue::chain(epilogue::bias{vector_b.get(), n}, epilogue::residual{yv}), r, s);
      default:
        return multiply(form, w, yv, epilogue::map{affine{}}, r, s);
    }
  });
}
