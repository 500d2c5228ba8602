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
//   look_up<C>(w)                a unit of nibbles as the bytes that they stand for in the code book of C
//   load_inputs(x)               row_unit x k_unit activation codes
//   load_shared_inputs(x)        the same for dot products with several strips; where integer_strips is not 1
//   dot<C>(sum, w, x)            adds one unit of products to ints, or to a `partial` where burst is not 0
//   burst<C>                     units that a partial takes before its 16-bit sums could overflow; 0: ints do
//   start_partial(), flush(sum, p)       a partial of 0; widens one into ints
//   start(z, a), start<C>(z[16], a)      ints that begin at -z * a: one zero point, or (row_unit 1) one a column
//   add_ints(a, b)
//   rows                                 optional, where k_unit is 4: four rows of X at once (cpu/four_rows.hpp)
//   staged_rows                          optional: tiles of more rows multiply so many at a time (staged_tile.hpp)
//                                        by staged<C>, stage<C>(w), products<C>(staged, x), add(partial, partial),
//                                        widened(partial), store(v, to), and to_floats as for row_unit 2
//   to_floats(sum)                       row_unit 1
//   to_floats(sum, row, z, a), to_floats<C>(sum, row, z[16], a)    row_unit 2: one row, less z * a
//
// For weight-only products (float_tile.hpp):
//   words, word_count, load_words(p, w)  the codes of a line
//   decoder<C, Z>().code<S>(word)        16 columns of it at one k (S bits from the lowest), less Z, as floats;
//                                        where C has a code book: numbers of it
//   zero_floats<C>(z[16])                zero points as floats
//
// For weight-only products with X of bfloat16, where pairs of them can be multiplied (pair_tile.hpp); optional:
//   pairs                                16 columns x 2 codes, less the zero point
//   pair_decoder<C, Z, has zero points>  pairs_per_line; zeros, load_zeros(z[16]); codes<P>(word, zeros): pair P of it
//   load_pair<strips>(x), dot_pairs(sum, w, x)
//   pair_block, copy_pairs<nibbles>(x, to)    numbers of X in the order of the decoder, so many at a time
//   pair_rows, copy_pair_rows<nibbles>(x, k, to)    those of so many rows, each pair of all rows side by side
//   pair_tiles, pair_strips              as float_direct_tiles and float_direct_strips
//
// Register tiles, the largest first: integer_tiles are the rows of those for INT8 activations, row_unit at least, and
// float_direct_tiles of those of weight-only products for few rows. They take one strip; the largest is there for
// integer_strips and float_direct_strips strips too. Weight-only products of many rows have float_tiles (rows x strips)
// on decoded panels. float_few_rows is the most rows for which the former are faster: the more registers, the less
// decoding a line again for every tile of rows costs.
#pragma once

#include <qlite/core/backend.hpp>
#include <qlite/core/bits.hpp>
#include <qlite/core/codebook.hpp>
#include <qlite/core/half.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// How the codes of a strip are read: unsigned nibbles or bytes, or signed bytes; or nibbles that choose from a code
/// book: nf4 (weight-only products alone), and nl4, whose whole numbers dot products take as signed bytes, or, 128
/// larger, as unsigned ones.
enum class code_kind { u4, u8, s8, nf4, nl4_s8, nl4_u8 };

template <code_kind C>
inline constexpr bool is_book = C == code_kind::nf4 || C == code_kind::nl4_s8 || C == code_kind::nl4_u8;
/// What a dot product is given.
template <code_kind C>
inline constexpr code_kind dot_kind = C == code_kind::nl4_s8   ? code_kind::s8
                                      : C == code_kind::nl4_u8 ? code_kind::u8
                                                               : C;
/// The numbers of a code book, as floats and as the bytes of dot_kind.
template <code_kind C>
QLITE_INLINE const float* book_numbers() noexcept {
  static_assert(is_book<C>);
  return C == code_kind::nf4 ? nf4_values : nl4_values;
}
template <code_kind C>
QLITE_INLINE const void* book_bytes() noexcept {
  static_assert(C == code_kind::nl4_s8 || C == code_kind::nl4_u8);
  return C == code_kind::nl4_u8 ? static_cast<const void*>(nl4_bytes_plus_128) : nl4_bytes;
}

/// The numbers of the code book for 16 codes that are floats: for instruction sets without a better way.
template <code_kind C, class Floats>
QLITE_INLINE Floats numbers_of(Floats codes) noexcept {
  float numbers[16];
  codes.store(numbers);
  for (float& x : numbers) x = book_numbers<C>()[static_cast<int>(x) & 15];
  return Floats::load(static_cast<const float*>(numbers));
}
/// The bytes of the code book for nibbles in `count` bytes: likewise.
template <code_kind C>
QLITE_INLINE void look_up_bytes(std::uint8_t* bytes, std::size_t count) noexcept {
  const auto* const book = static_cast<const std::uint8_t*>(book_bytes<C>());
  for (std::size_t i = 0; i < count; ++i) bytes[i] = book[bytes[i] & 15];
}

/// A register tile: rows of X times strips of 16 columns. Lists of them are ordered from the largest to the smallest
/// number of rows, all with the same number of strips.
struct tile_shape {
  std::size_t rows, strips;
};

/// The first `count` of 16 elements from p on; the others are 0.
template <class F, class T>
QLITE_INLINE F load_part(const T* p, std::size_t count) noexcept {
  if (QLITE_LIKELY(count == 16)) return F::load(p);
  float values[16] = {};
  for (std::size_t i = 0; i < count; ++i) values[i] = element<T>::load(p[i]);
  return F::load(values);
}

template <class F, class T>
QLITE_INLINE void store_part(F y, T* p, std::size_t count) noexcept {
  if (QLITE_LIKELY(count == 16)) {
    y.store(p);
    return;
  }
  float values[16];
  y.store(values);
  for (std::size_t i = 0; i < count; ++i) p[i] = element<T>::store(values[i]);
}

inline constexpr std::size_t no_limit = ~std::size_t{0};

/// What a tile asks for while it reads its strips, a line for each of theirs: packed weights some way ahead in the same
/// stream, or a part of the strips that come next, if other rows read this tile's strips too. (They lie in the L2 cache
/// after the first of them, and memory would rest until the last.)
struct prefetch_plan {
  std::size_t ahead = 10240;    // bytes from the first line; what is before it, as a number that wraps
  unsigned part = 0;            // over a whole strip come 2^-part of another; the largest tiles only
};

/// Where the strips lie that a tile reads side by side, and what it asks for meanwhile. Only with `Parts` can that be a
/// part of another strip: the arithmetic costs a tile of one row a tenth of its time.
template <std::size_t Strips, bool Parts>
struct strip_stream {
  std::size_t bytes;    // of a strip

  QLITE_INLINE strip_stream(const std::byte* weights, std::size_t strip_bytes, prefetch_plan plan) noexcept
      : bytes(strip_bytes),
        first_(weights),
        plan_(plan),
        turn_(plan.ahead < strip_bytes ? strip_bytes - plan.ahead : no_limit) {}

  /// Asks for a line of each for this one of the first.
  QLITE_INLINE void prefetch(const std::byte* w) const noexcept {
    // as a number: the address may lie outside of the matrix, which only a prefetch may
    const auto number = [](const std::byte* p) QLITE_LAMBDA { return reinterpret_cast<std::uintptr_t>(p); };
    std::uintptr_t line = number(w) + plan_.ahead;
    if constexpr (Parts) {
      const auto done = static_cast<std::size_t>(w - first_);
      line = number(first_) + plan_.ahead + (done >> plan_.part);
      // Behind a strip lies another of this tile; what comes next lies behind them all.
      if (Strips > 1 && done >= turn_) line += (Strips - 1) * bytes;
    }
    repeat<Strips>([&](auto s)
                       QLITE_LAMBDA { __builtin_prefetch(reinterpret_cast<const void*>(line + s * bytes), 0, 3); });
  }

 private:
  const std::byte* first_;
  prefetch_plan plan_;
  std::size_t turn_;
};

template <class Backend, class = void>
struct isa;

template <class>
inline constexpr bool always_false = false;

}    // namespace impl
QLITE_END_FUNCTIONS
