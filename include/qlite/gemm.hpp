// Door 2: packed weights and products on the CPU backends that this translation unit may use.
#pragma once

#include <qlite/gemm/gemm.hpp>
#include <qlite/gemm/reference.hpp>
#include <qlite/pack/any_packed.hpp>
#include <qlite/pack/pack.hpp>
#include <qlite/quantize.hpp>
#include <qlite/quantize/quantize_backend.hpp>
