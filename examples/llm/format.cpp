#include "format.hpp"

#include <algorithm>
#include <stdexcept>

#include "simd.hpp"

namespace llm {

namespace {

/// Applies one part of a name behind its first colon; false if it means nothing.
bool apply_suffix(const std::string& part, format_options& options) {
  const bool group = part.size() >= 2 && part.size() <= 7 && part[0] == 'g' &&
                     part.find_first_not_of("0123456789", 1) == std::string::npos;
  if (group)
    options.group = std::stol(part.substr(1));
  else if (part == "symmetric")
    options.zero = zero_kind::symmetric;
  else if (part == "asymmetric")
    options.zero = zero_kind::asymmetric;
  else if (part == "offset")
    options.zero = zero_kind::offset;
  else if (part == "nl4")
    options.book = code_book::nl4;
  else if (part == "rtn")
    options.method = quantization_method::rtn;
  else if (part == "mse_clip")
    options.method = quantization_method::mse_clip;
  else if (part == "weight-only")
    options.weight_only = true;
  else
    return false;
  return true;
}

[[noreturn]] void fail_name(const std::string& name) {
  throw std::runtime_error(
      "unknown precision \"" + name +
      "\", expected fp32, bf16, fp16, int8 or int4, the last two also with g<N>, symmetric, asymmetric, "
      "offset, nl4, rtn, mse_clip or weight-only behind colons, as int4:g128:offset:mse_clip");
}

}    // namespace

weight_format parse_format(const std::string& name, const format_options& options) {
  format_options refined = options;
  const std::string base = name.substr(0, name.find(':'));
  for (std::size_t at = base.size(); at < name.size();) {
    const std::size_t end = std::min(name.find(':', at + 1), name.size());
    if (!apply_suffix(name.substr(at + 1, end - at - 1), refined)) fail_name(name);
    at = end;
  }
  weight_format format;
  if (base == "fp32" || base == "bf16" || base == "fp16") {
    if (base != name) fail_name(name);
    format.what = base == "fp32" ? precision::float32 : base == "bf16" ? precision::bfloat16 : precision::float16;
    return format;
  }
  if (base != "int8" && base != "int4") fail_name(name);
  format.what = base == "int8" ? precision::int8 : precision::int4;
  format.method = refined.method;
  format.weight_only = refined.weight_only;
  format.scheme.bits = format.what == precision::int8 ? 8 : 4;
  format.scheme.symmetric = refined.zero == zero_kind::symmetric;
  if (refined.zero == zero_kind::offset) format.scheme.offset = qlite::real_kind::float16;
  if (refined.book == code_book::nl4) {
    if (format.what != precision::int4 || !format.scheme.symmetric)
      throw std::runtime_error("\"" + name + "\": nl4 is for symmetric int4, its numbers are fixed");
    format.scheme.codebook = qlite::codebook_kind::nl4;
  }
  const long group = refined.group >= 0 ? refined.group : 32;
  format.scheme.granularity = group == 0 ? qlite::granularity_kind::per_channel : qlite::granularity_kind::per_group;
  format.scheme.group_size = static_cast<std::size_t>(group);
  return format;
}

std::string name_of(precision what) {
  switch (what) {
    case precision::float32:
      return "fp32";
    case precision::bfloat16:
      return "bf16";
    case precision::float16:
      return "fp16";
    case precision::int8:
      return "int8";
    case precision::int4:
      return "int4";
  }
  return {};
}

void check_device(const weight_format& format, const std::string& name, device where) {
  if (where == device::cpu && format.what == precision::float16)
    throw std::runtime_error("fp16 is for --device cuda, the CPU takes fp32, bf16, int8 and int4");
  if (where == device::cuda && (format.what == precision::float32 || format.what == precision::bfloat16))
    throw std::runtime_error(name + " is for the CPU, --device cuda takes fp16, int8 and int4");
}

std::string describe(const weight_format& format, device where) {
  if (format.what == precision::float16) return "float16 weights and activations, float sums (cuBLAS)";
  if (format.what == precision::float32) return "float32 weights and activations";
  if (format.what == precision::bfloat16)
    return has_bf16_dot ? "bfloat16 weights and activations (vdpbf16ps), float sums"
                        : "bfloat16 weights, float activations";
  std::string text = name_of(format.what);
  if (format.scheme.granularity == qlite::granularity_kind::per_group)
    text += " group " + std::to_string(format.scheme.group_size);
  else
    text += " per channel";
  text += format.scheme.codebook == qlite::codebook_kind::nl4 ? " nl4 table"
          : format.scheme.symmetric                           ? " symmetric"
          : format.scheme.offset == qlite::real_kind::none    ? " asymmetric"
                                                              : " offset";
  text += format.method == quantization_method::rtn ? ", round to nearest" : ", MSE clip";
  if (where == device::cuda) return text + ", float16 activations";
  return text + (format.weight_only ? ", float activations" : ", INT8 activations");
}

}    // namespace llm
