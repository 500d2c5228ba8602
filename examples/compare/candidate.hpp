// What the program compares: a precision of the weights and the method that chooses their codes.
#pragma once

#include <string>

#include "format.hpp"

namespace compare {

/// How the codes of a layer are chosen.
enum class method {
  none,          ///< floats: nothing to choose
  rtn,           ///< round to nearest
  mse,           ///< the clip of least squared error of the weights
  hqq,           ///< half-quadratic: robust to outliers among the weights
  awq,           ///< scales and clips that are best for the outputs on the calibration data
  gptq,          ///< roundings that make up for each other on the calibration data
  awq_gptq,      ///< those, of weights scaled by awq's factors
  gptq_refine    ///< those of gptq, then codes and scales in turn
};

struct candidate {
  std::string name;    ///< as on the command line
  llm::weight_format format;
  method how = method::none;
  bool compensated = false;    ///< qep: layers make up for what the quantized layers before them have lost

  bool quantized() const { return format.quantized(); }
  /// Whether it looks at what goes into the layers.
  bool calibrated() const { return compensated || how == method::awq || by_hessian(); }
  /// Whether its roundings are GPTQ's. Such candidates have an output layer rounded by GPTQ too.
  bool by_hessian() const { return how == method::gptq || how == method::awq_gptq || how == method::gptq_refine; }
};

/// "fp32", "bf16", or "int8" or "int4" followed by what is to differ from symmetric groups of 32 and rtn, each behind a
/// colon: g<N> (group size, 0: a row), asymmetric, offset, nl4, weight-only, and a method: rtn, mse, hqq (which has
/// offsets), awq, gptq, awq+gptq, gptq+refine; and qep, with any of them. Throws std::runtime_error for other names.
candidate parse_candidate(const std::string& name);

const char* name_of(method how);

}    // namespace compare
