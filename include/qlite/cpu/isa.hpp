// What an instruction set must offer to the kernels. `isa<Backend>` is specialized by one file per instruction set in
// this folder; everything else (blocking, group loop, tails, epilogues) is written once, in gemm/, on top of it.
//
//   k_unit, row_unit             weights of a row of W, and rows of X, that one dot product takes
//   floats                       16 floats, one per column; load, store, splat and the functions of cpu/simd.hpp
//   weights, inputs              registers with one unit: 16 columns x k_unit codes; k_unit codes of row_unit rows
//   ints                         row_unit x 16 sums of 32 bits
//
// For INT8 activations (integer_tile.hpp); C is a code_kind:
//   load_bytes(p)                one unit of byte codes
//   load_nibbles(p, low, high)   two units of nibbles, the low ones first
//   load_inputs(x)               row_unit x k_unit activation codes
//   dot<C>(sum, w, x)            adds one unit of products to ints, or to a `partial` where burst is not 0
//   burst<C>                     units that a partial takes before its 16-bit sums could overflow; 0: ints do
//   start_partial(), flush(sum, p)       a partial of 0; widens one into ints
//   start(z, a), start<C>(z[16], a)      ints that begin at -z * a: one zero point, or (row_unit 1) one a column
//   add_ints(a, b)
//   to_floats(sum)                       row_unit 1
//   to_floats(sum, row, z, a), to_floats<C>(sum, row, z[16], a)    row_unit 2: one row, less z * a
//
// For weight-only products (float_tile.hpp):
//   words, word_count, load_words(p, w)  the codes of a line
//   decoder<C, Z>().code<S>(word)        16 columns of it at one k (S bits from the lowest), less Z, as floats;
//                                        of kind nf4: numbers of the code book
//   zero_floats<C>(z[16])                zero points as floats
//
// Register tiles, the largest first: integer_tiles are the rows of those for INT8 activations, each of one strip and,
// the smallest, of row_unit rows at least. Weight-only products have float_direct_tiles (rows x strips) for few rows
// and float_tiles, on decoded panels, for many. float_few_rows is the most rows for which the former are faster: the
// more registers, the less decoding a line again for every tile of rows costs.
#pragma once

#include <qlite/core/backend.hpp>
#include <qlite/core/bits.hpp>
#include <qlite/core/codebook.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// How the codes of a strip are read by a dot product: unsigned nibbles or bytes, or signed bytes. nf4: nibbles that
/// choose from a code book, in weight-only products alone.
enum class code_kind { u4, u8, s8, nf4 };

/// The numbers of the code book for 16 codes that are floats: for instruction sets without a better way.
template <class Floats>
QLITE_INLINE Floats look_up_nf4(Floats codes) noexcept {
  float numbers[16];
  codes.store(numbers);
  for (float& x : numbers) x = nf4_values[static_cast<int>(x) & 15];
  return Floats::load(static_cast<const float*>(numbers));
}

/// A register tile: rows of X times strips of 16 columns. Lists of them are ordered from the largest to the smallest
/// number of rows, all with the same number of strips.
struct tile_shape {
  std::size_t rows, strips;
};

inline constexpr std::size_t no_limit = ~std::size_t{0};

/// Asks for what a stream of packed weights brings some way ahead of this line, in this strip or the next.
QLITE_INLINE void prefetch_stream(const std::byte* line) noexcept {
  constexpr std::size_t distance = 12288;
  // as a number: the address may lie outside of the matrix, which only a prefetch may
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(line) + distance), 0, 2);    // L2
}

template <class Backend, class = void>
struct isa;

template <class>
inline constexpr bool always_false = false;

}    // namespace impl
QLITE_END_FUNCTIONS
