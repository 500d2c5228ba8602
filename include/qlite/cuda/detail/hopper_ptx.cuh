// Hopper's own instructions, one per function: mbarriers, the tensor copy engine (TMA), and wgmma. sm_90a only.
#pragma once

#include <qlite/cuda/detail/config.cuh>

#include <cuda.h>

QLITE_CUDA_BEGIN_FUNCTIONS
namespace kernels {

/// Threads of a block of the Hopper kernel as the device at hand runs it: three warpgroups in code for sm_90a, one warp
/// in code for anything else, whose body is empty. The bound of a kernel is what the host can ask for (dispatch.cuh).
inline constexpr unsigned hopper_threads = 384;
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define QLITE_CUDA_HOPPER_BOUND ::qlite::cuda::kernels::hopper_threads
#else
#define QLITE_CUDA_HOPPER_BOUND 32
#endif

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

QLITE_DEVICE std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}
/// The address, in the shared memory of the whole cluster, of what block `rank` has where this block has `address`.
QLITE_DEVICE std::uint32_t cluster_address(std::uint32_t address, std::uint32_t rank) {
  std::uint32_t to;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(to) : "r"(address), "r"(rank));
  return to;
}

QLITE_DEVICE void load_shared(std::uint32_t& to, std::uint32_t address) {
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(to) : "r"(address) : "memory");
}
QLITE_DEVICE void load_shared(uint2& to, std::uint32_t address) {
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(to.x), "=r"(to.y) : "r"(address) : "memory");
}
QLITE_DEVICE void load_shared(uint4& to, std::uint32_t address) {
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(to.x), "=r"(to.y), "=r"(to.z), "=r"(to.w)
               : "r"(address)
               : "memory");
}
/// To shared memory of any block of the cluster.
QLITE_DEVICE void store_remotely(std::uint32_t address, float x) {
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(address), "f"(x) : "memory");
}
/// Four matrices of 8 x 8 elements of 16 bits, transposed; lane 8 i + j has the address of row j of matrix i.
QLITE_DEVICE void store_transposed(std::uint32_t address, const std::uint32_t (&m)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(m[0]),
               "r"(m[1]), "r"(m[2]), "r"(m[3])
               : "memory");
}
/// x, in a way that the assembler does not see through: it would rather compute x anew in every step of a loop than
/// give it one of the many registers that a consumer has.
QLITE_DEVICE std::uint32_t keep(std::uint32_t x) { return __shfl_sync(0xffffffffu, x, threadIdx.x % 32); }
/// Brings what lies at p to the L2.
QLITE_DEVICE void fetch_ahead(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }
/// The copy engine reads a description of a matrix once it is needed; this asks for it before.
QLITE_DEVICE void fetch_map(const CUtensorMap& matrix) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&matrix) : "memory");
}

QLITE_DEVICE void init_barrier(std::uint32_t barrier, std::uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
/// Barriers are initialized for the copy engine and for other blocks of the cluster too.
QLITE_DEVICE void publish_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
QLITE_DEVICE void arrive_expecting(std::uint32_t barrier, std::uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
/// At a barrier of any block of the cluster (cluster_address). What is released is reads alone, of shared memory that
/// the copy engine fills next, so the plain form does; that of the cluster's scope would wait for global memory.
QLITE_DEVICE void arrive_remotely(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}
/// Waits until the phase of this parity is over.
QLITE_DEVICE void wait_barrier(std::uint32_t barrier, std::uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra finished;\n"
      "bra again;\n"
      "finished:\n"
      "}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

/// A box of a matrix to shared memory; `barrier` counts its bytes. Beyond the matrix it is zeros.
QLITE_DEVICE void copy_box(std::uint32_t to, const CUtensorMap& matrix, std::uint32_t column, std::uint32_t row,
                           std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
          to),
      "l"(&matrix), "r"(column), "r"(row), "r"(barrier)
      : "memory");
}
/// A box of matrices: its first column, from a row and a matrix on.
QLITE_DEVICE void copy_block(std::uint32_t to, const CUtensorMap& matrices, std::uint32_t row, std::uint32_t matrix,
                             std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::
          "r"(to),
      "l"(&matrices), "r"(0), "r"(row), "r"(matrix), "r"(barrier)
      : "memory");
}
/// A box of a matrix to the same place in all blocks of a mask; each block's own barrier counts.
QLITE_DEVICE void copy_box_to_blocks(std::uint32_t to, const CUtensorMap& matrix, std::uint32_t column,
                                     std::uint32_t row, std::uint32_t barrier, std::uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, "
      "%3}], [%4], %5;" ::"r"(to),
      "l"(&matrix), "r"(column), "r"(row), "r"(barrier), "h"(blocks)
      : "memory");
}

/// Registers of each thread of a warpgroup, from here on.
template <int Count>
QLITE_DEVICE void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count));
}
template <int Count>
QLITE_DEVICE void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count));
}

/// A barrier of `threads` threads of the block.
QLITE_DEVICE void sync_threads(std::uint32_t barrier, std::uint32_t threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

/// The same for threads that do not wait.
QLITE_DEVICE void arrive_threads(std::uint32_t barrier, std::uint32_t threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

/// Registers written before are seen by the products that follow.
QLITE_DEVICE void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
QLITE_DEVICE void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Waits until at most `Pending` of the committed groups are still under way.
template <int Pending>
QLITE_DEVICE void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}
/// Keeps the compiler from moving uses of registers that products write across this place.
template <int N>
QLITE_DEVICE void pin(float (&d)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
template <int N>
QLITE_DEVICE void pin(std::int32_t (&d)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+r"(d[i])::"memory");
}
QLITE_DEVICE void pin(std::uint32_t (&a)[2][4]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) asm volatile("" : "+r"(a[i / 4][i % 4])::"memory");
}

/// What wgmma has to know of a matrix in shared memory: rows of 128 or 64 bytes, their 16-byte chunks c of row r at
/// c ^ (r % 8) or c ^ (r / 2 % 4) (the copy engine's swizzles of as many bytes), eight rows every 1024 or 512 bytes.
/// PTX ISA, "matrix descriptor". A product's step along k moves the address by 32 bytes.
template <std::uint32_t RowBytes>
QLITE_DEVICE std::uint64_t rows_in_memory(std::uint32_t address) {
  static_assert(RowBytes == 128 || RowBytes == 64, "swizzled rows");
  return std::uint64_t{address >> 4} | std::uint64_t{1} << 16 | std::uint64_t{8 * RowBytes >> 4} << 32 |
         std::uint64_t{RowBytes == 128 ? 1 : 2} << 62;
}

// d [64 x N] = a [64 x 16] * b [16 x N] (+ d, if `add`). Warp w of the warpgroup holds rows 16 w ... of a and d, each
// in the fragments of mma.m16n8k16; b is [N] rows of k in shared memory.
#define QLITE_CUDA_D8(c, i) \
  c(d[i]), c(d[i + 1]), c(d[i + 2]), c(d[i + 3]), c(d[i + 4]), c(d[i + 5]), c(d[i + 6]), c(d[i + 7])
#define QLITE_CUDA_D16(c, i) QLITE_CUDA_D8(c, i), QLITE_CUDA_D8(c, i + 8)
#define QLITE_CUDA_D32(c, i) QLITE_CUDA_D16(c, i), QLITE_CUDA_D16(c, i + 16)
#define QLITE_CUDA_D64(c, i) QLITE_CUDA_D32(c, i), QLITE_CUDA_D32(c, i + 32)
#define QLITE_CUDA_D128(c, i) QLITE_CUDA_D64(c, i), QLITE_CUDA_D64(c, i + 64)
#define QLITE_CUDA_0_15 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define QLITE_CUDA_0_31 \
  QLITE_CUDA_0_15 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define QLITE_CUDA_0_63                                            \
  QLITE_CUDA_0_31                                                  \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, " \
  "%44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define QLITE_CUDA_64_127                                                                                        \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, "    \
  "%85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, "    \
  "%105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, " \
  "%123, %124, %125, %126, %127"
#define QLITE_CUDA_0_127 QLITE_CUDA_0_63 ", " QLITE_CUDA_64_127
// The numbers of the operands behind the accumulator's.
#define QLITE_CUDA_WGMMA_FLOAT(element, type, n, count, list, a0, a1, a2, a3, b0)                                \
  QLITE_DEVICE void multiply_async(float(&d)[count], const std::uint32_t(&a)[4], std::uint64_t b, element) {     \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" list "}, {%" #a0 ", %" #a1 \
                 ", %" #a2 ", %" #a3 "}, %" #b0 ", 1, 1, 1, 0;"                                                  \
                 : QLITE_CUDA_D##count("+f", 0)                                                                  \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                          \
  }
#define QLITE_CUDA_WGMMA(n, count, list, a0, a1, a2, a3, b0)                                               \
  QLITE_CUDA_WGMMA_FLOAT(__half, "f16", n, count, list, a0, a1, a2, a3, b0)                                \
  QLITE_CUDA_WGMMA_FLOAT(__nv_bfloat16, "bf16", n, count, list, a0, a1, a2, a3, b0)                        \
  /* The same of signed bytes, with 32 k; a too is in shared memory. */                                    \
  QLITE_DEVICE void multiply_async(std::int32_t(&d)[count], std::uint64_t a, std::uint64_t b) {            \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #n "k32.s32.s8.s8 {" list "}, %" #a0 ", %" #a1 ", 1;" \
                 : QLITE_CUDA_D##count("+r", 0)                                                            \
                 : "l"(a), "l"(b));                                                                        \
  }
QLITE_CUDA_WGMMA(32, 16, QLITE_CUDA_0_15, 16, 17, 18, 19, 20)
QLITE_CUDA_WGMMA(64, 32, QLITE_CUDA_0_31, 32, 33, 34, 35, 36)
QLITE_CUDA_WGMMA(128, 64, QLITE_CUDA_0_63, 64, 65, 66, 67, 68)
QLITE_CUDA_WGMMA(256, 128, QLITE_CUDA_0_127, 128, 129, 130, 131, 132)
#undef QLITE_CUDA_WGMMA
#undef QLITE_CUDA_WGMMA_FLOAT
#undef QLITE_CUDA_0_127
#undef QLITE_CUDA_64_127
#undef QLITE_CUDA_0_63
#undef QLITE_CUDA_0_31
#undef QLITE_CUDA_0_15
#undef QLITE_CUDA_D128
#undef QLITE_CUDA_D64
#undef QLITE_CUDA_D32
#undef QLITE_CUDA_D16
#undef QLITE_CUDA_D8

#endif

}    // namespace kernels
QLITE_CUDA_END_FUNCTIONS
