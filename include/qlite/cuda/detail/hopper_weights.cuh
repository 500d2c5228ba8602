// Weights on their way to wgmma's registers: codes out of shared memory, and scales and zero points from group to
// group.
#pragma once

#include <qlite/cuda/detail/hopper_ptx.cuh>
#include <qlite/cuda/detail/tile.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

/// Reads the codes of a tile from shared memory in the order of k itself, which a product needs whose other operand
/// stays in memory. Of 32 k, lane t of the four of a row has four pairs v packed at k = 8 t + 2 v + i; it is to have
/// those at k = 8 v + 2 t + i, in the same places. So it reads the word that holds its pair of each of the four, and
/// takes that pair, bytes j and j + 2, out of each. The copy engine leaves chunk c of 16 bytes of row g (64 bytes) at
/// c ^ (g / 2 % 4) (its swizzle of 64 bytes), so that no two of the words lie in the same bank.
template <class Math, int Bits>
struct code_reader {
  using words = std::uint32_t[Bits / 4][2][4];
  std::uint32_t at[4], pair;

  /// `tile`: address of the warp's tile in the first stage.
  QLITE_DEVICE code_reader(std::uint32_t tile, std::uint32_t lane) : pair(keep((lane & 1) != 0 ? 0x7351u : 0x6240u)) {
    const std::uint32_t g = lane / 4;
#pragma unroll
    for (std::uint32_t c = 0; c < 4; ++c) at[c] = keep(tile + 64 * g + 16 * (c ^ (g / 2 % 4)) + 4 * (lane / 2 % 2));
  }
  QLITE_DEVICE void load(std::uint32_t stage, words& to) const {
#pragma unroll
    for (int p = 0; p < Bits / 4; ++p)
#pragma unroll
      for (int h = 0; h < 2; ++h)
#pragma unroll
        for (int c = 0; c < 4; ++c) load_shared(to[p][h][c], at[c] + stage + 512 * p + 8 * h);
  }
  /// The fragments of half h.
  QLITE_DEVICE void decode(const words& from, const typename Math::zeros& zeros, int h,
                           std::uint32_t (&a)[2][4]) const {
    uint4 raw[Bits / 4];    // the words of detail/layout.cuh
#pragma unroll
    for (int p = 0; p < Bits / 4; ++p) {
      raw[p].x = __byte_perm(from[p][0][0], from[p][0][1], pair);
      raw[p].y = __byte_perm(from[p][0][2], from[p][0][3], pair);
      raw[p].z = __byte_perm(from[p][1][0], from[p][1][1], pair);
      raw[p].w = __byte_perm(from[p][1][2], from[p][1][3], pair);
    }
    Math::decode(raw, h, zeros, a);
  }
};

/// Goes from group to group along K, in steps of a tile (span_kind::tile) or half a tile (half, run). The tensor core's
/// sums are in units of the scales of the group at hand. What the next group needs is prepared while products are under
/// way.
template <class Math, int Bits, span_kind Span, bool Plain>
struct group_cursor {
  static constexpr std::uint32_t halves = spans_of_tile<Span>;
  using zeros = typename Math::zeros;

  struct loaded {
    std::uint32_t scales, zeros;    // of this lane's rows
  };
  struct numbers {
    float2 unit;              // the scales
    std::uint32_t kept[2];    // masks of fragments: 0 where a scale is 0
    bool some_zero;           // of any lane
    zeros points;
  };
  numbers now, then;
  float2 ratio;                  // what sums in the unit at hand are multiplied by to be in the next
  const std::byte* next;         // scales of the group to load
  const std::uint8_t* points;    // its zero points; null: none
  std::uint32_t left;            // groups behind that one
  std::uint32_t size, end;       // steps of a group, and the one where the next group begins
  std::uint32_t stored;          // zero points where there are none
  loaded ahead;                  // of the group after the next

  QLITE_DEVICE group_cursor(const weights& w, std::size_t pair, std::uint32_t tile) {
    now.unit = make_float2(1.0f, 1.0f);
    points = Plain || w.zeros == nullptr ? nullptr : w.zeros + 2 * pair;
    stored = w.bias * 0x0101u;
    if constexpr (Span == span_kind::whole) {
      if (!Plain && points != nullptr) stored = __ldg(reinterpret_cast<const unsigned short*>(points));
      now.points = Math::template make_zeros<Bits>(stored);
    } else {
      size = w.groups == 1 ? 0x3fffffffu : w.group / (64 / halves);
      const std::uint32_t group = min(tile * halves / size, w.groups - 1);
      end = w.groups == 1 ? size : (group + 1) * size;
      next = w.scales + 4 * pair + 32 * std::size_t{group};
      if (!Plain && points != nullptr) points += 16 * std::size_t{group};
      left = w.groups - 1 - group;
      ahead = load();
      prepare();
      now = then;
      prepare();
    }
  }
  /// Products of the first step of a group are under way.
  QLITE_DEVICE void prepare() {
    then.unit = __half22float2(*reinterpret_cast<const __half2*>(&ahead.scales));
    then.points = Math::template make_zeros<Bits>(ahead.zeros);
    ahead = load();
    then.some_zero = __any_sync(0xffffffffu, then.unit.x == 0.0f || then.unit.y == 0.0f);
    then.kept[0] = then.unit.x == 0.0f ? 0u : ~0u;
    then.kept[1] = then.unit.y == 0.0f ? 0u : ~0u;
    // A scale of 0 leaves the unit as it is: the codes become 0 instead.
    if (then.unit.x == 0.0f) then.unit.x = now.unit.x;
    if (then.unit.y == 0.0f) then.unit.y = now.unit.y;
    ratio = make_float2(__fmul_rn(now.unit.x, reciprocal(then.unit.x)), __fmul_rn(now.unit.y, reciprocal(then.unit.y)));
  }
  /// The zero points of half h of a tile (or of the whole tile) that is a tile ahead at most.
  QLITE_DEVICE zeros points_of(std::uint32_t tile, int h) const {
    if constexpr (Span != span_kind::whole && !Plain) {
      const std::uint32_t step = tile * halves + h;
      if (step >= end + size) return Math::template make_zeros<Bits>(ahead.zeros);
      if (step >= end) return then.points;
    }
    return now.points;
  }
  /// Before the products of half h of a tile (or of the whole tile), whose codes are a; whether it begins a group.
  template <class Sum, int N>
  QLITE_DEVICE bool enter(std::uint32_t tile, int h, Sum (&acc)[N], std::uint32_t (&a)[2][2][4]) {
    if constexpr (Span == span_kind::whole) {
      return false;
    } else {
      return enter_group(tile * halves + h, h, acc, a);
    }
  }

 private:
  template <int N>
  QLITE_DEVICE bool enter_group(std::uint32_t step, int h, float (&acc)[N], std::uint32_t (&a)[2][2][4]) {
    const bool begins = step == end;
    if (begins) {
      now = then;
      end += size;
      wait_products<0>();
      pin(acc);
#pragma unroll
      for (int i = 0; i < N; ++i) acc[i] = __fmul_rn(acc[i], i % 4 < 2 ? ratio.x : ratio.y);
    }
    if (now.some_zero) {
#pragma unroll
      for (int hh = 0; hh < 2; ++hh)
        if (Span == span_kind::tile || hh == h) {
#pragma unroll
          for (int i = 0; i < 8; ++i) a[hh][i / 4][i % 4] &= now.kept[i % 2];
        }
    }
    return begins;
  }
  QLITE_DEVICE loaded load() {
    loaded l{__ldg(reinterpret_cast<const unsigned*>(next)), stored};
    if (!Plain && points != nullptr) l.zeros = __ldg(reinterpret_cast<const unsigned short*>(points));
    if (left != 0) {
      next += 32, --left;
      if (!Plain && points != nullptr) points += 16;
    }
    return l;
  }
};

#endif

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
