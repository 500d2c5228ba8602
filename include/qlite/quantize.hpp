// Door 1: floats to codes and back. No SIMD headers, no CUDA; may be included from a .cu file.
#pragma once

#include <qlite/calibrate/activation_stats.hpp>
#include <qlite/calibrate/drift.hpp>
#include <qlite/calibrate/hessian.hpp>
#include <qlite/calibrate/observer.hpp>
#include <qlite/core/scheme_info.hpp>
#include <qlite/evaluate/output_error.hpp>
#include <qlite/quantize/awq.hpp>
#include <qlite/quantize/compensate.hpp>
#include <qlite/quantize/compressed_scales.hpp>
#include <qlite/quantize/dequantize.hpp>
#include <qlite/quantize/fake_quantize.hpp>
#include <qlite/quantize/gptq.hpp>
#include <qlite/quantize/hqq.hpp>
#include <qlite/quantize/importance_clip.hpp>
#include <qlite/quantize/mse_clip.hpp>
#include <qlite/quantize/outliers.hpp>
#include <qlite/quantize/quantize.hpp>
#include <qlite/quantize/quantized_matrix.hpp>
#include <qlite/quantize/refine.hpp>
#include <qlite/quantize/rtn.hpp>
#include <qlite/quantize/scaled_by.hpp>
#include <qlite/quantize/scaled_matrix.hpp>
#include <qlite/quantize/smoothquant.hpp>
#include <qlite/version.hpp>
