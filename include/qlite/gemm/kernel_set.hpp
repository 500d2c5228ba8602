// The kernels of one kind of weights on one backend as plain function pointers. The loops around them (blocking.hpp)
// need nothing else, so they are instantiated once per backend and epilogue, not once per scheme; and a layer whose
// scheme is known only at run time carries a pointer to its set.
#pragma once

#include <qlite/cpu/kernels.hpp>
#include <qlite/gemm/float_tile.hpp>
#include <qlite/gemm/pair_tile.hpp>
#include <qlite/gemm/staged_tile.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Tiles of a family, the largest first, all of the same number of strips.
template <class Function>
struct tile_list {
  struct entry {
    std::size_t rows;
    Function run;
  };
  entry tiles[6];
  std::size_t count, strips;
  bool splits = false;    // rows of X are not in panels, which have the rows of their tile

  /// The tile for the next `rows` rows: the smallest that takes them all, or the largest. Where rows can be split
  /// anywhere, two tiles are better than one that computes two rows or more for nothing.
  QLITE_INLINE const entry& pick(std::size_t rows) const noexcept {
    std::size_t i = 0;
    while (i + 1 < count && (tiles[i + 1].rows >= rows || (splits && tiles[i].rows > rows + 1))) ++i;
    return tiles[i];
  }
};

/// Rows of X that share one reading of the weights: about so many at most, at least (a narrow W or a large K reduces
/// them), and how many bytes of them there may be. Blocks are cut at multiples of a unit; with what is left of M none
/// has more rows than the last number.
inline constexpr std::size_t row_block = 128, least_block = 16, row_block_bytes = std::size_t{640} << 10;
inline constexpr std::size_t block_unit = 8, largest_block = row_block + least_block + block_unit;

inline constexpr std::size_t largest_tile = 16 * 2 * 16;    // floats of the largest tile: rows x strips x 16

/// Tiles that read packed strips: of one, and the largest of several too.
template <class Function>
struct strip_tiles {
  tile_list<Function> one;
  Function several;    // null where `strips` is 1
  std::size_t strips;
  std::size_t panels = 1;    // so many times its rows are what the largest tile takes at once, if there are as many

  /// The rows of the largest tile.
  QLITE_INLINE constexpr std::size_t most_rows() const noexcept { return panels * one.tiles[0].rows; }
  /// Strips that are read together for `rows` rows.
  QLITE_INLINE std::size_t together(std::size_t rows) const noexcept {
    return one.pick(rows).rows == one.tiles[0].rows ? strips : 1;
  }
};

using integer_kernels = strip_tiles<integer_tile_function>;

struct float_kernels {
  strip_tiles<float_direct_function> few;
  tile_list<float_panel_function> many;    // panels of decoded strips
  float_decode_function decode;
  std::size_t few_rows;
  pair_copy_function copy_pairs =
      nullptr;    // not null: `few` reads panels of pairs of bfloat16, which this makes of X

  /// Numbers of X in a word of those that the tiles read.
  QLITE_INLINE constexpr std::size_t numbers_per_word() const noexcept { return copy_pairs == nullptr ? 1 : 2; }
  /// Rows of a copy of X with so many: panels have the rows of their tile.
  QLITE_INLINE std::size_t copied_rows(std::size_t rows) const noexcept {
    if (copy_pairs == nullptr || rows == 0) return rows;
    const std::size_t last = (rows - 1) / few.one.tiles[0].rows * few.one.tiles[0].rows;
    return last + few.one.pick(rows - last).rows;
  }
};

template <class T, std::size_t N>
QLITE_INLINE constexpr std::make_index_sequence<N> indices_of(const T (&)[N]) noexcept {
  return {};
}

template <class I, class Format, scale_kind Scales, std::size_t... Is>
QLITE_INLINE constexpr integer_kernels make_integer_kernels(std::index_sequence<Is...>) noexcept {
  constexpr std::size_t rows = I::integer_tiles[0], strips = I::integer_strips;
  static_assert(block_unit % rows == 0, "blocks of rows are whole panels");
  static_assert(rows * strips * strip_rows <= largest_tile, "a tile fits the loops' scratch");
  integer_tile_function several = nullptr;
  if constexpr (strips > 1) several = &integer_tile<I, Format, Scales, rows, strips>::apply;
  return {{{{I::integer_tiles[Is], integer_tile_of<I, Format, Scales, I::integer_tiles[Is]>()}...}, sizeof...(Is), 1},
          several,
          strips,
          rows > rows_at_a_time<I> ? 2 : 1};
}

template <class I, class Format, std::size_t... Ds>
QLITE_INLINE constexpr strip_tiles<float_direct_function> make_direct_kernels(std::index_sequence<Ds...>) noexcept {
  constexpr std::size_t rows = I::float_direct_tiles[0], strips = I::float_direct_strips;
  static_assert(block_unit % rows == 0, "blocks of rows are whole tiles, whatever the number of threads");
  static_assert(rows * strips * strip_rows <= largest_tile, "a tile fits the loops' scratch");
  float_direct_function several = nullptr;
  if constexpr (strips > 1) several = &float_direct_tile<I, Format, rows, strips>::apply;
  return {{{{I::float_direct_tiles[Ds], &float_direct_tile<I, Format, I::float_direct_tiles[Ds], 1>::apply}...},
           sizeof...(Ds),
           1,
           true},
          several,
          strips};
}

template <class I, class Format, std::size_t... Ss>
QLITE_INLINE constexpr float_kernels make_float_kernels(std::index_sequence<Ss...>) noexcept {
  constexpr tile_shape many = I::float_tiles[0];
  static_assert(many.strips <= 4, "the loops take up to four strips at a time");
  static_assert(many.rows * many.strips * strip_rows <= largest_tile, "a tile fits the loops' scratch");
  return {
      make_direct_kernels<I, Format>(indices_of(I::float_direct_tiles)),
      {{{I::float_tiles[Ss].rows, &float_panel_tile<I, I::float_tiles[Ss].rows, I::float_tiles[Ss].strips>::apply}...},
       sizeof...(Ss),
       many.strips},
      &decode_floats<I, Format>,
      I::float_few_rows};
}

template <class Backend, class Format, scale_kind Scales>
inline constexpr integer_kernels integer_kernels_of =
    make_integer_kernels<isa<Backend>, Format, Scales>(indices_of(isa<Backend>::integer_tiles));

template <class Backend, class Format>
inline constexpr float_kernels float_kernels_of =
    make_float_kernels<isa<Backend>, Format>(indices_of(isa<Backend>::float_tiles));

template <class I, class Format, std::size_t... Ps>
QLITE_INLINE constexpr float_kernels make_pair_kernels(std::index_sequence<Ps...>) noexcept {
  constexpr std::size_t rows = I::pair_tiles[0], strips = I::pair_strips;
  static_assert(block_unit % rows == 0, "blocks of rows are whole tiles, whatever the number of threads");
  static_assert(rows * strips * strip_rows <= largest_tile, "a tile fits the loops' scratch");
  return {{{{{I::pair_tiles[Ps], &pair_tile<I, Format, I::pair_tiles[Ps], 1>::apply}...}, sizeof...(Ps), 1},
           &pair_tile<I, Format, rows, strips>::apply,
           strips},
          {},
          nullptr,
          no_limit,
          &copy_pairs<I, Format>};
}

template <class Backend, class Format>
inline constexpr float_kernels pair_kernels_of =
    make_pair_kernels<isa<Backend>, Format>(indices_of(isa<Backend>::pair_tiles));

/// The kernels for X of bfloat16: the instruction set's own, or those for float.
template <class Backend, class Format>
QLITE_INLINE constexpr const float_kernels& bfloat16_kernels() noexcept {
  if constexpr (has_pairs<isa<Backend>, Format>)
    return pair_kernels_of<Backend, Format>;
  else
    return float_kernels_of<Backend, Format>;
}

}    // namespace impl
QLITE_END_FUNCTIONS
