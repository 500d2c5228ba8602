// Linear layers in a GPU's memory, seen from code that the host's compiler compiles.
#pragma once

#include <memory>
#include <qlite/core/half.hpp>
#include <qlite/core/scheme_info.hpp>
#include <qlite/quantize/quantized_matrix.hpp>

#include "after.hpp"

namespace llm {
namespace gpu {

struct device_context;    // device.cuh

/// Weights W [rows (outputs), cols (inputs)]. Everything throws std::runtime_error where CUDA reports an error.
class linear {
 public:
  virtual ~linear() = default;
  virtual std::size_t rows() const = 0;
  virtual std::size_t cols() const = 0;
  /// Bytes of the weights with their scales and padding.
  virtual std::size_t bytes() const = 0;
  /// Bytes of scratch that a product with m rows of X needs.
  virtual std::size_t scratch_bytes(std::size_t m) const = 0;
  /// Whether there are products with `silu` and `multiply`; else only `store`, and `add` to float32.
  virtual bool fuses() const = 0;

  /// y[m, rows] = after(x[m, cols] * W^T) in device memory, on the context's stream; the operand of `multiply` and
  /// `add` is y itself. 16-bit elements are float16.
  virtual void multiply(const device_context& context, const qlite::float16* x, std::size_t m, qlite::float16* y,
                        then what) const = 0;
  virtual void multiply(const device_context& context, const qlite::float16* x, std::size_t m, float* y,
                        then what) const = 0;
};

/// The unquantized baseline: a float16 matrix, multiplied by cuBLAS.
class half_linear : public linear {
 public:
  /// Stores rows first ... first + rows of the matrix, from host memory.
  virtual void set_rows(std::size_t first, const qlite::float16* values, std::size_t rows) = 0;
  /// The matrix in device memory.
  virtual qlite::float16* data() = 0;
};
std::unique_ptr<half_linear> make_half_linear(std::size_t rows, std::size_t cols);

/// The schemes that a command line can name.
using dynamic_group = qlite::per_group<qlite::dynamic_extent>;
using schemes =
    qlite::scheme_list<qlite::scheme<qlite::int8, qlite::per_channel>, qlite::scheme<qlite::int8, dynamic_group>,
                       qlite::scheme<qlite::int4, qlite::per_channel>, qlite::scheme<qlite::int4, dynamic_group>,
                       qlite::scheme<qlite::int4, dynamic_group, qlite::asymmetric>,
                       qlite::scheme<qlite::int4, dynamic_group, qlite::offset<>>,
                       qlite::scheme<qlite::nl4, dynamic_group>>;

/// Codes of the host or of the device, packed by qlite::cuda and multiplied by it.
template <class Scheme>
std::unique_ptr<linear> make_quantized_linear(const qlite::quantized_view<Scheme>& q);

}    // namespace gpu
}    // namespace llm
