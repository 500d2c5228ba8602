// One PTX instruction per function, under a name that says what it does.
#pragma once

#include <qlite/cuda/detail/config.cuh>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

/// (a & mask) | bits.
QLITE_DEVICE std::uint32_t and_or(std::uint32_t a, std::uint32_t mask, std::uint32_t bits) {
  std::uint32_t r;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(a), "r"(mask), "r"(bits));
  return r;
}
/// (a & mask) ^ bits.
QLITE_DEVICE std::uint32_t and_xor(std::uint32_t a, std::uint32_t mask, std::uint32_t bits) {
  std::uint32_t r;
  asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(r) : "r"(a), "r"(mask), "r"(bits));
  return r;
}

/// 16 bytes that are read once: not kept in L1.
QLITE_DEVICE uint4 load_once(const void* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}

/// Within a unit in the last place.
QLITE_DEVICE float reciprocal(float x) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}

/// Programmatic dependent launch: a kernel that was started so (launch.cuh) runs while the one ahead of it in the
/// stream still does. Waits until that has ended and its writes are seen. In a kernel that was not there is nothing to
/// wait for, but to find that out takes time too (inputs::late says so).
QLITE_DEVICE void wait_for_work_ahead() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
/// Lets such a kernel behind this one begin, once every block has come here.
QLITE_DEVICE void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/// Where block `rank` of the cluster has what lies at p in this block's shared memory.
template <class T>
QLITE_DEVICE const T* in_block(const T* p, std::uint32_t rank) {
  std::uint64_t to;
  asm("mapa.u64 %0, %1, %2;" : "=l"(to) : "l"(reinterpret_cast<std::uint64_t>(p)), "r"(rank));
  return reinterpret_cast<const T*>(to);
}
/// All threads of the cluster have written before, and read after.
QLITE_DEVICE void arrive_in_cluster() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
QLITE_DEVICE void wait_for_cluster() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

#endif

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800

/// 16 bytes from global to shared memory; zeros where `present` is false. Plain: on Hopper the form with a created
/// cache policy is an illegal instruction.
QLITE_DEVICE void copy_async(void* shared, const void* global, bool present) {
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = present ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
}
QLITE_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most `Pending` of the committed groups are still under way.
template <int Pending>
QLITE_DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

/// d = a [16 x 16] * b [16 x 8] + c, in float32. PTX ISA, "mma.m16n8k16": with group = lane / 4 and t = lane % 4, a
/// holds rows group and group + 8 by turns at k 2t, 2t + 1, then the same at k + 8; b column group at the same k; d
/// columns 2t, 2t + 1 of row group, then of row group + 8. d and c may be the same array; c of literal zeros costs no
/// register.
QLITE_DEVICE void mma(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                      const float (&c)[4], __half) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %11, %12, %13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}
QLITE_DEVICE void mma(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                      const float (&c)[4], __nv_bfloat16) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %11, %12, %13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}
/// d = a [16 x 32] * b [32 x 8] + c of signed bytes, exact in int32. Fragments as above, with four k where there were
/// two.
QLITE_DEVICE void mma(std::int32_t (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                      const std::int32_t (&c)[4], std::int8_t) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %11, %12, %13};"
      : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
}

#endif

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
