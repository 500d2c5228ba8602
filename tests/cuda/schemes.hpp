// The schemes that the CUDA tests run over: every code, granularity, zero and type of scale occurs; each is the partner
// of some type of activations in kernels/.
#pragma once

#include <qlite/core/scheme.hpp>

namespace qlite_test {

template <class Code>
using grouped = qlite::scheme<Code, qlite::per_group<qlite::dynamic_extent>>;
template <class Code>
using grouped_asymmetric = qlite::scheme<Code, qlite::per_group<qlite::dynamic_extent>, qlite::asymmetric>;
template <class Code>
using grouped_offset = qlite::scheme<Code, qlite::per_group<qlite::dynamic_extent>, qlite::offset<>>;
template <class Code>
using channel_float = qlite::scheme<Code, qlite::per_channel, qlite::symmetric, float>;
template <class Code>
using channel_asymmetric = qlite::scheme<Code, qlite::per_channel, qlite::asymmetric>;
template <class Code>
using channel_offset = qlite::scheme<Code, qlite::per_channel, qlite::offset<float>, float>;
template <class Code>
using tensor = qlite::scheme<Code, qlite::per_tensor, qlite::symmetric>;
template <class Code>
using fixed_groups = qlite::scheme<Code, qlite::per_group<128>, qlite::symmetric, float>;
template <class Code>
using groups_of_32 = qlite::scheme<Code, qlite::per_group<32>>;
template <class Code>
using groups_of_32_asymmetric = qlite::scheme<Code, qlite::per_group<32>, qlite::asymmetric>;

/// As in QLoRA.
using qlora = qlite::scheme<qlite::nf4, qlite::per_group<64>, qlite::symmetric, float>;

}    // namespace qlite_test
