// Door 2: packed weights and products on the CPU backends that this translation unit may use.
#pragma once

#include <qlite/cpu/quantize.hpp>
#include <qlite/gemm/any_packed.hpp>
#include <qlite/gemm/gemm.hpp>
#include <qlite/gemm/reference.hpp>
#include <qlite/pack/pack.hpp>
#include <qlite/quantize.hpp>
