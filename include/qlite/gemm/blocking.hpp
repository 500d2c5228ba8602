// The loops around the tiles, once for every backend and scheme: which rows and strips meet when, and in whose scratch.
//
//   INT8 activations          one strip after the other, which stays in the L2 cache for all rows of a block
//   weight-only, few rows     the same
//   weight-only, many rows    groups of strips, decoded once per block of rows into a panel
//
// Work is cut into (row block, strip group) items; a task takes a contiguous run of them. No task waits for another.
#pragma once

#include <qlite/core/executor.hpp>
#include <qlite/gemm/activations.hpp>
#include <qlite/gemm/epilogue.hpp>
#include <qlite/gemm/kernel_set.hpp>

QLITE_BEGIN_FUNCTIONS
namespace impl {

/// Y and what to do before storing to it.
template <class I, class T, class Epilogue>
struct output {
  matrix_view<T> y;
  const Epilogue& epilogue;

  /// Asks for the lines of Y that a tile will be stored to. A tile takes long enough for them to arrive; else the
  /// stores wait for them one after the other, and those of the next tile behind them.
  QLITE_INLINE void prefetch(std::size_t rows, std::size_t strips, std::size_t row, std::size_t strip) const {
    const std::size_t column = strip * strip_rows, bytes = min_of(strips * strip_rows, y.cols() - column) * sizeof(T);
    for (std::size_t m = 0; m < rows; ++m) {
      const auto* const line = reinterpret_cast<const std::byte*>(y.row(row + m) + column);
      for (std::size_t i = 0; i < bytes; i += cache_line) __builtin_prefetch(line + i, 1);
      __builtin_prefetch(line + bytes - 1, 1);    // where Y does not begin with a line: one line more
    }
  }

  /// Stores a tile [rows][strips * 16] whose first element is (row, 16 * strip) of Y.
  QLITE_INLINE void store(const float* tile, std::size_t tile_strips, std::size_t rows, std::size_t strips,
                          std::size_t row, std::size_t strip) const {
    for (std::size_t m = 0; m < rows; ++m) {
      for (std::size_t s = 0; s < strips; ++s) {
        const std::size_t column = (strip + s) * strip_rows, count = min_of(strip_rows, y.cols() - column);
        const auto value = I::floats::load(tile + (m * tile_strips + s) * strip_rows);
        store_part(apply_epilogue(epilogue, value, row + m, column, count), y.row(row + m) + column, count);
      }
    }
  }
};

/// Rows of X that share one reading of the weights, at most: as many as half of a large L2 cache holds, for every strip
/// reads them again.
QLITE_INLINE constexpr std::size_t rows_per_block(std::size_t row_bytes) noexcept {
  const std::size_t rows = row_block_bytes / max_of<std::size_t>(row_bytes, 1) / least_block * least_block;
  return max_of(least_block, min_of(row_block, rows));
}

/// How a product is cut into items (row block, strip group). Blocks are of about the same size, and tasks of the same
/// number of rows times strip groups: a few rows more than a block holds neither cost another reading of the weights
/// nor leave a thread without work.
struct work_plan {
  std::size_t rows, strips, group_strips, row_blocks, strip_groups, tasks;

  QLITE_INLINE work_plan(std::size_t m, std::size_t row_bytes, std::size_t n_strips, std::size_t tile_strips,
                         std::size_t concurrency) noexcept
      : rows(m), strips(n_strips), group_strips(tile_strips), strip_groups(ceil_div(n_strips, tile_strips)) {
    std::size_t most = rows_per_block(row_bytes);
    // A narrow W alone cannot occupy every thread: smaller blocks of rows can.
    while (most > least_block && strip_groups * ceil_div(m, most) < 2 * concurrency)
      most = most / 2 / least_block * least_block;
    row_blocks = ceil_div(m, most + least_block - 1);
    tasks = min_of(concurrency, row_blocks * strip_groups);
  }

  /// The items of a task: their rows taken one after the other, it has an equal part of them.
  QLITE_INLINE slice items_of(std::size_t task) const noexcept {
    const slice part = slice_of(rows * strip_groups, tasks, task);
    return {item_at(part.begin), item_at(part.end)};
  }
  QLITE_INLINE slice rows_of(std::size_t item) const noexcept {
    const std::size_t block = item / strip_groups;
    return {block_begin(block), block_begin(block + 1)};
  }
  QLITE_INLINE slice strips_of(std::size_t item) const noexcept {
    const std::size_t begin = item % strip_groups * group_strips;
    return {begin, min_of(strips, begin + group_strips)};
  }

 private:
  /// Blocks begin with whole tiles, wherever they are cut: a row's tile, and so its bits, do not depend on that.
  QLITE_INLINE std::size_t block_begin(std::size_t block) const noexcept {
    return block == row_blocks ? rows : rows * block / row_blocks / block_unit * block_unit;
  }
  /// The first item that does not begin before the `row`-th row of all items.
  QLITE_INLINE std::size_t item_at(std::size_t row) const noexcept {
    std::size_t block = 0;
    while (block < row_blocks && row > (block_begin(block + 1)) * strip_groups) ++block;
    if (block == row_blocks) return row_blocks * strip_groups;
    const std::size_t begin = block_begin(block), size = block_begin(block + 1) - begin;
    return block * strip_groups + ceil_div(row - begin * strip_groups, size);
  }
};

template <class Executor, class F>
QLITE_INLINE void run_tasks(Executor& executor, std::size_t tasks, const F& f) {
  if (tasks == 1)
    f(0);
  else if (tasks != 0)
    executor.parallel_for(tasks, f);
}

/// What the tiles of an item ask for: the first for its own strips, the others together for those of the next item.
class next_strips {
 public:
  QLITE_INLINE next_strips(const work_plan& work, std::size_t item, std::size_t last, std::size_t strip_bytes,
                           std::size_t largest_tile_rows) noexcept
      : strip_bytes_(strip_bytes), tile_rows_(largest_tile_rows) {
    if (item == last) return;
    const slice rows = work.rows_of(item);
    // an equal part each for a power of two of the largest tiles, or all for a smaller one
    while (std::size_t{2} << part_ < (rows.end - rows.begin) / largest_tile_rows) ++part_;
    tiles_ = std::size_t{1} << part_;
    distance_ = (work.strips_of(item + 1).begin - work.strips_of(item).begin) * strip_bytes;
  }
  /// For the tile that begins with this row of the item.
  QLITE_INLINE prefetch_plan of(std::size_t row) const noexcept {
    const std::size_t tile = max_of<std::size_t>(1, row / tile_rows_);
    if (row == 0 || tile > tiles_) return {};
    return {distance_ + ((tile - 1) * strip_bytes_ >> part_), part_};
  }

 private:
  std::size_t strip_bytes_, tile_rows_, tiles_ = 0, distance_ = 0;
  unsigned part_ = 0;
};

/// A few strips after the other, for each all rows of the block. Tiles read the packed strips, which stay in the L2
/// cache for all of them; nibbles are split in registers, which costs three instructions for two units and as many rows
/// as a tile has. (Panels of decoded codes were slower: benchmarks/NOTES.md.) `args_of` makes a tile's arguments of its
/// strips, first row, number of rows, scratch and what to ask for.
template <class Function, class Out, class Executor, class Args>
inline void strips_gemm(const strip_tiles<Function>& set, const work_plan& work, const packed_data& w, const Out& out,
                        Executor& executor, const Args& args_of) {
  run_tasks(executor, work.tasks, [&](std::size_t task) {
    const slice items = work.items_of(task);
    alignas(cache_line) float tile[largest_tile];
    for (std::size_t item = items.begin; item < items.end; ++item) {
      const slice rows = work.rows_of(item), strips = work.strips_of(item);
      const next_strips next(work, item, items.end - 1, w.shape.strip_bytes, set.most_rows());
      for (std::size_t row = rows.begin, count; row < rows.end; row += count) {
        const auto& tile_of = set.one.pick(rows.end - row);
        count = min_of(tile_of.rows, rows.end - row);
        if (set.panels != 1 && rows.end - row >= set.most_rows()) count = set.most_rows();
        const std::size_t some = strips.end - strips.begin == set.strips ? set.together(rows.end - row) : 1;
        for (std::size_t strip = strips.begin; strip < strips.end; strip += some) {
          out.prefetch(count, some, row, strip);
          (some == 1 ? tile_of.run : set.several)(
              args_of(w.data + strip * w.shape.strip_bytes, row, count, tile, next.of(row - rows.begin)));
          out.store(tile, some, count, some, row, strip);
        }
      }
    }
  });
}

/// INT8 activations.
template <class Out, class Executor>
inline void integer_gemm(const integer_kernels& set, const packed_data& w, const input_rows& x, std::size_t m,
                         const Out& out, Executor& executor, std::size_t concurrency) {
  const work_plan work(m, x.row_bytes, w.shape.strips, set.together(m), concurrency);
  strips_gemm(set, work, w, out, executor,
              [&](const std::byte* strips, std::size_t row, std::size_t count, float* tile, prefetch_plan prefetch)
                  QLITE_LAMBDA {
                    const std::size_t panel = set.one.tiles[0].rows;
                    return integer_tile_args{strips, &w.shape, x.panel(row),
                                             tile,   prefetch, count > panel ? panel * x.row_bytes : 0};
                  });
}

/// Lines of a strip that are decoded into one panel of floats.
inline constexpr std::size_t float_panel_depth = 256;

/// Weight-only. Each task has a panel [depth][tile strips * 16] and sums [block rows][tile strips * 16].
struct float_plan {
  bool few;
  work_plan work;
  std::size_t lines, panel_floats, sum_floats;

  QLITE_INLINE float_plan(const float_kernels& set, const strip_shape& shape, std::size_t rows,
                          std::size_t concurrency) noexcept
      : few(rows <= set.few_rows),
        work(rows, few ? shape.cols * sizeof(float) / set.numbers_per_word() : 0, shape.strips,
             few ? set.few.together(rows) : set.many.strips, concurrency),
        lines(float_panel_depth / shape.line_k),
        panel_floats(few ? 0 : set.many.strips * strip_rows * float_panel_depth),
        // for the largest blocks even where the plan has smaller ones, so that fewer threads never need more
        sum_floats(few ? 0 : set.many.strips * strip_rows * min_of(rows, largest_block)) {}
  QLITE_INLINE std::size_t task_floats() const noexcept { return panel_floats + sum_floats; }
};

template <class Out, class Executor>
inline void float_gemm_few(const float_kernels& set, const float_plan& plan, const packed_data& w, const float_rows& x,
                           const Out& out, Executor& executor) {
  strips_gemm(set.few, plan.work, w, out, executor,
              [&](const std::byte* strips, std::size_t row, std::size_t count, float* tile,
                  prefetch_plan prefetch) QLITE_LAMBDA {
                return float_direct_args{strips, &w.shape, {x.data + row * x.stride, x.stride}, count, tile, prefetch};
              });
}

template <class Out, class Executor>
inline void float_gemm_many(const float_kernels& set, const float_plan& plan, const packed_data& w, const float_rows& x,
                            float* scratch, const Out& out, Executor& executor) {
  const work_plan& work = plan.work;
  const auto& tiles = set.many;
  const std::size_t columns = tiles.strips * strip_rows;
  const std::size_t lines = w.shape.groups == 0 ? 0 : (w.shape.groups - 1) * w.shape.group_lines + w.shape.last_lines;
  run_tasks(executor, work.tasks, [&](std::size_t task) {
    const slice items = work.items_of(task);
    float* const panel = scratch + task * plan.task_floats();
    float* const sums = panel + plan.panel_floats;
    alignas(cache_line) float tile[largest_tile];
    for (std::size_t item = items.begin; item < items.end; ++item) {
      const slice rows = work.rows_of(item), strips = work.strips_of(item);
      const std::size_t count = strips.end - strips.begin;
      std::memset(panel, 0, plan.panel_floats * sizeof(float));    // strips that the last group of strips lacks
      std::memset(sums, 0, plan.sum_floats * sizeof(float));
      line_position from[4] = {};
      for (std::size_t line = 0; line < lines; line += plan.lines) {
        const std::size_t some = min_of(plan.lines, lines - line);
        for (std::size_t s = 0; s < count; ++s)
          from[s] = set.decode(w.data + (strips.begin + s) * w.shape.strip_bytes, w.shape, from[s], some,
                               panel + s * strip_rows, columns);
        for (std::size_t row = rows.begin; row < rows.end;) {
          const auto& tile_of = tiles.pick(rows.end - row);
          const std::size_t valid = min_of(tile_of.rows, rows.end - row);
          float* const sum = sums + (row - rows.begin) * columns;
          // A tile may have more rows than are left: then it works on a copy.
          float* const at = tile_of.rows == valid ? sum : tile;
          if (at == tile) std::memcpy(tile, sum, valid * columns * sizeof(float));
          tile_of.run(
              {panel, {x.data + row * x.stride + line * w.shape.line_k, x.stride}, some * w.shape.line_k, valid, at});
          if (at == tile) std::memcpy(sum, tile, valid * columns * sizeof(float));
          row += valid;
        }
      }
      out.store(sums, tiles.strips, rows.end - rows.begin, count, rows.begin, strips.begin);
    }
  });
}

}    // namespace impl
QLITE_END_FUNCTIONS
