#include "quantized_matrix.hpp"

#include <algorithm>
#include <qlite/gemm.hpp>
#include <vector>

#include "memory.hpp"
#include "quantize_rows.hpp"

namespace ql = qlite;

namespace llm {
namespace {

using backend = ql::cpu::native;

/// The schemes that a command line can name: qlite's defaults, groups with an offset, the form of GGUF's Q4_1, and the
/// nl4 table, that of its IQ4_NL.
template <class... Defaults>
auto with_others(ql::scheme_list<Defaults...>)
    -> ql::scheme_list<Defaults..., ql::scheme<ql::int4, ql::per_group<32>, ql::offset<>>,
                       ql::scheme<ql::int4, ql::per_group<ql::dynamic_extent>, ql::offset<>>,
                       ql::scheme<ql::int4, ql::per_channel, ql::offset<>>,
                       ql::scheme<ql::int8, ql::per_group<ql::dynamic_extent>, ql::offset<>>,
                       ql::scheme<ql::int8, ql::per_channel, ql::offset<>>,
                       ql::scheme<ql::nl4, ql::per_group<ql::dynamic_extent>>, ql::scheme<ql::nl4, ql::per_channel>>;
using schemes = decltype(with_others(ql::default_schemes{}));

/// Memory that grows when it is too small, lent to qlite as a workspace.
struct scratch {
  array<std::byte> memory;
  ql::workspace of(std::size_t bytes) {
    memory.require(bytes);
    return {memory.data(), memory.size()};
  }
};

}    // namespace

struct quantized_input::state {
  scratch workspace, codes;
  ql::quantized_activations<ql::per_weight_group> activations;
  bool valid = false;
};

quantized_input::quantized_input() : state_(std::make_unique<state>()) {}
quantized_input::~quantized_input() = default;
quantized_input::quantized_input(quantized_input&&) noexcept = default;
void quantized_input::invalidate() { state_->valid = false; }

/// A large matrix (the output layer, mostly) is held as blocks of rows. While it is loaded, one block exists twice, as
/// codes and packed; the rest only once.
struct quantized_matrix::weights {
  std::size_t rows, cols;
  bool weight_only;
  std::vector<ql::any_packed<backend>> blocks;    // their scheme is known only at run time
};

namespace {

constexpr std::size_t block_weights = std::size_t{1} << 23;

/// Rows of a block: as many as hold block_weights, in whole strips of packed rows so that nothing is padded inside.
std::size_t block_rows(std::size_t cols) { return std::max<std::size_t>(block_weights / cols / 64 * 64, 64); }

}    // namespace

quantized_matrix::quantized_matrix(std::size_t rows, std::size_t cols, const weight_format& format,
                                   const row_reader& read, executor& threads)
    : weights_(std::make_unique<weights>()) {
  weights_->rows = rows;
  weights_->cols = cols;
  weights_->weight_only = format.weight_only;
  for (std::size_t first = 0; first < rows; first += block_rows(cols)) {
    const std::size_t count = std::min(block_rows(cols), rows - first);
    const row_reader read_block = [&](std::size_t row, ql::matrix_view<float> out) { read(first + row, out); };
    // The bridge from a scheme that is a value to one that is a type: one instantiation for each of the list.
    ql::visit_scheme<schemes>(format.scheme, [&](auto scheme) {
      weights_->blocks.emplace_back(
          ql::pack<backend>(quantize_rows(count, cols, scheme, format.method, read_block, threads), threads));
    });
  }
}

quantized_matrix::quantized_matrix(ql::any_packed<backend> packed, bool weight_only)
    : weights_(std::make_unique<weights>()) {
  weights_->rows = packed.rows();
  weights_->cols = packed.cols();
  weights_->weight_only = weight_only;
  weights_->blocks.push_back(std::move(packed));
}

quantized_matrix::~quantized_matrix() = default;
quantized_matrix::quantized_matrix(quantized_matrix&&) noexcept = default;
quantized_matrix& quantized_matrix::operator=(quantized_matrix&&) noexcept = default;

std::size_t quantized_matrix::rows() const { return weights_->rows; }
std::size_t quantized_matrix::cols() const { return weights_->cols; }
bool quantized_matrix::weight_only() const { return weights_->weight_only; }
std::size_t quantized_matrix::bytes() const {
  std::size_t sum = 0;
  for (const auto& block : weights_->blocks) sum += block.bytes();
  return sum;
}

void quantized_matrix::multiply(ql::matrix_view<const float> x, quantized_input& input, ql::matrix_view<float> y,
                                const after& op, executor& threads) const {
  quantized_input::state& state = *input.state_;
  const ql::any_packed<backend>& any = weights_->blocks.front();
  // A layer's input is quantized once for all the products that it takes part in, if their scales lie alike.
  const bool fits = state.valid && state.activations.group_size() == any.group_size();
  if (!weights_->weight_only && !fits) {
    const auto rows = ql::dynamic<ql::int8>(x);
    const std::size_t bytes = ql::quantized_activations_bytes(rows, any);
    state.activations = ql::quantize_activations(rows, any, state.codes.of(bytes), threads);
    state.valid = true;
  }
  std::size_t first = 0;
  for (const ql::any_packed<backend>& block : weights_->blocks) {
    const ql::matrix_view<float> out{y.data() + first, y.rows(), block.rows(), y.row_stride()};
    const ql::matrix_view<const float> operand{op.operand.data() + first, y.rows(), block.rows(),
                                               op.operand.row_stride()};
    const auto product = [&](const auto& activations, const auto& epilogue) {
      const std::size_t bytes = ql::gemm_workspace_bytes(activations, block, threads);
      ql::gemm(activations, block, out, epilogue, threads, state.workspace.of(bytes));
    };
    const auto product_then = [&](const auto& activations) {
      switch (op.what) {
        case then::store:
          return product(activations, ql::epilogue::none{});
        case then::silu:
          return product(activations, ql::epilogue::silu{});
        case then::multiply:
          return product(activations, ql::epilogue::multiply{operand});
        case then::add:
          return product(activations, ql::epilogue::residual{operand});
      }
    };
    if (weights_->weight_only)
      product_then(x);
    else
      product_then(state.activations);
    first += block.rows();
  }
}

const char* backend_name() { return ql::name<backend>(); }

}    // namespace llm
