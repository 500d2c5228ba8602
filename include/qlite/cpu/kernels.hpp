// Every instruction set that this translation unit can use, and a sentence for each that it cannot.
#pragma once

#include <qlite/cpu/avx2.hpp>
#include <qlite/cpu/avx512.hpp>
#include <qlite/cpu/avx512_bf16.hpp>
#include <qlite/cpu/generic.hpp>
#include <qlite/cpu/neon.hpp>
#include <qlite/cpu/scalar.hpp>
