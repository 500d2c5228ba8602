// What happens to the outputs of a linear layer before they are stored.
#pragma once

#include <qlite/core/view.hpp>

namespace llm {

enum class then {
  store,       ///< y = sum
  silu,        ///< y = silu(sum)
  multiply,    ///< y = sum * operand
  add          ///< y = sum + operand; the operand may be y itself
};

struct after {
  then what = then::store;
  qlite::matrix_view<const float> operand{};    ///< of the output's shape; `multiply` and `add` only
};

}    // namespace llm
