#!/usr/bin/env bash
# What including qlite costs a compiler: for each door, CPU seconds of parsing it (best of several runs), lines and
# kilobytes after the preprocessor; and CPU seconds of building one engine's translation unit that quantizes, packs and
# multiplies with two schemes on the best backend.
#
#   parse_time.sh [compiler] [runs] [flags...]     default: c++ 5 -march=x86-64-v4 -mavx512vnni
set -euo pipefail
include=$(cd "$(dirname "$0")/../../include" && pwd)
compiler=${1:-c++}
runs=${2:-5}
shift $(($# < 2 ? $# : 2))
flags=("$@")
[ ${#flags[@]} -gt 0 ] || flags=(-march=x86-64-v4 -mavx512vnni)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# CPU seconds of a command, the least of the runs.
seconds() {
  local best="" TIMEFORMAT='%U %S' now
  for ((i = 0; i < runs; ++i)); do
    now=$( { time "$@" > /dev/null 2>&1; } 2>&1 | awk '{printf "%.2f", $1 + $2}')
    if [ -z "$best" ] || awk "BEGIN {exit !($now < $best)}"; then best=$now; fi
  done
  echo "$best"
}

compile=("$compiler" -std=c++17 -I"$include" "${flags[@]}")
"$compiler" --version | head -1
echo "${flags[*]}"
printf '%-34s %8s %10s %8s\n' "" "s" "lines" "kB"

echo 'int main() {}' > "$folder/nothing.cpp"
printf '%-34s %8s\n' "an empty program" "$(seconds "${compile[@]}" -fsyntax-only "$folder/nothing.cpp")"
for header in xsimd/xsimd.hpp qlite/quantize.hpp qlite/gemm.hpp; do
  echo "#include <$header>" > "$folder/door.cpp"
  "${compile[@]}" -E -P "$folder/door.cpp" > "$folder/door.ii"
  printf '%-34s %8s %10d %8d\n' "$header" "$(seconds "${compile[@]}" -fsyntax-only "$folder/door.cpp")" \
    "$(wc -l < "$folder/door.ii")" "$(($(wc -c < "$folder/door.ii") / 1024))"
done

cat > "$folder/engine.cpp" << 'EOF'
#include <qlite/gemm.hpp>
namespace ql = qlite;
using w8 = ql::scheme<ql::int8, ql::per_channel>;
using w4 = ql::scheme<ql::int4, ql::per_group<32>>;

template <class Scheme>
void linear(const float* w, const float* x, float* y, std::size_t n, std::size_t k, std::size_t m) {
  const auto packed = ql::pack<ql::cpu::native>(ql::quantize<Scheme>(ql::matrix_view<const float>{w, n, k}, ql::rtn{}));
  const ql::matrix_view<const float> X{x, m, k};
  ql::gemm(ql::dynamic<ql::int8>(X), packed, ql::matrix_view<float>{y, m, n});
}
void linear8(const float* w, const float* x, float* y, std::size_t n, std::size_t k, std::size_t m) {
  linear<w8>(w, x, y, n, k, m);
}
void linear4(const float* w, const float* x, float* y, std::size_t n, std::size_t k, std::size_t m) {
  linear<w4>(w, x, y, n, k, m);
}
EOF
for level in -O0 -O2 -O3; do
  printf '%-34s %8s\n' "engine, two schemes, $level" \
    "$(seconds "${compile[@]}" $level -c "$folder/engine.cpp" -o "$folder/engine.o")"
done
size "$folder/engine.o" | awk 'NR == 2 {printf "%-34s %8d bytes\n", "code of the engine at -O3", $1}'
