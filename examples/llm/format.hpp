// How the weights of linear layers are held in memory.
#pragma once

#include <qlite/core/scheme_info.hpp>
#include <string>

namespace llm {

enum class precision { float32, bfloat16, float16, int8, int4 };

/// Where a model runs. float16 weights are for CUDA; float32 and bfloat16 ones, and INT8 activations, for the CPU.
enum class device { cpu, cuda };

/// How the codes of INT8 and INT4 weights are chosen.
enum class quantization_method { rtn, mse_clip };

/// What the code 0 of INT8 and INT4 weights stands for.
enum class zero_kind {
  symmetric,     ///< 0
  asymmetric,    ///< an integer zero point per group is subtracted from the codes
  offset         ///< a real offset per group is added to scale * code (GGUF's Q4_1)
};

/// Whether INT4 codes are numbers, or choose from qlite's nl4 table.
enum class code_book { none, nl4 };

/// How keys and values are kept. bfloat16 halves what attention reads and, where the processor multiplies bfloat16, the
/// time of its products; `automatic` is bfloat16 where the linear layers round their inputs, to INT8 or bfloat16.
enum class cached_as { automatic, float32, bfloat16 };

struct weight_format {
  precision what = precision::float32;
  qlite::scheme_info scheme{};    ///< INT8 and INT4 only
  quantization_method method = quantization_method::rtn;
  bool weight_only = false;    ///< float activations instead of INT8 ones

  bool quantized() const { return what == precision::int8 || what == precision::int4; }
};

/// What the command line says about quantized formats. `group` is the number of weights that share a scale; 0: as many
/// as a row has (per channel); -1: the default, 32.
struct format_options {
  long group = -1;
  zero_kind zero = zero_kind::symmetric;
  code_book book = code_book::none;
  bool weight_only = false;
  quantization_method method = quantization_method::rtn;
};

/// "fp32", "bf16", "fp16", "int8" or "int4"; the latter two may be followed by what is to differ from `options`, each
/// behind a colon: g<N> (group size), symmetric, asymmetric, offset, nl4 (int4 only), rtn, mse_clip, weight-only.
/// "int4:g128:offset", for one. Throws std::runtime_error for other names.
weight_format parse_format(const std::string& name, const format_options& options);

/// Throws std::runtime_error if a device has no such weights.
void check_device(const weight_format& format, const std::string& name, device where);

/// The short name of a precision: what parse_format takes.
std::string name_of(precision what);

/// A line about a format: "int4 per_group<32>, rtn, int8 activations".
std::string describe(const weight_format& format, device where = device::cpu);

}    // namespace llm
