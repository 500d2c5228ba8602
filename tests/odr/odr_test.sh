#!/usr/bin/env bash
# One program from objects of several instruction sets (design: no code of one may leak into another).
#
#   odr_test.sh build   <folder> <compiler> <optimization> <flags>...   compiles the objects into <folder>
#   odr_test.sh symbols <folder>     fails if two objects define the same weak symbol that shared_symbols.txt does not allow
#   odr_test.sh run     <folder>     links the objects in both orders and runs both programs
#   odr_test.sh old_cpu <folder>     runs both programs on an emulated CPU without AVX; exits 77 without qemu-x86_64
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
step=$1
folder=$2
shift 2

# The objects: the flags and the backend of each.
declare -A flags=(
  [portable]=""
  [avx2]="-mavx2 -mfma -mf16c"
  [avx512_vnni]="-march=x86-64-v4 -mavx512vnni"
)
declare -A backend=([portable]=scalar [avx2]=avx2 [avx512_vnni]=avx512_vnni)

# The weak and unique symbols that an object defines: what the linker shares between objects.
shared_candidates() {
  nm --defined-only --format=posix "$1" | awk '$2 ~ /^[WwVvu]$/ {print $1}' | LC_ALL=C sort -u
}

# The symbols that two objects share and shared_symbols.txt does not allow, as "<mangled> <demangled>".
leaks() {
  LC_ALL=C comm -12 <(shared_candidates "$1") <(shared_candidates "$2") |
    grep -vxE -f <(grep -vE '^(#|$)' "$here/shared_symbols.txt") | while read -r name; do
    printf '%s  %s\n' "$name" "$(c++filt "$name")"
  done || true
}

case $step in
  build)
    compiler=$1
    optimization=$2
    shift 2
    rm -rf "$folder"
    mkdir -p "$folder"
    for isa in "${!flags[@]}"; do
      # shellcheck disable=SC2086 -- the flags are several words
      "$compiler" -std=c++17 "$optimization" "$@" ${flags[$isa]} -DODR_NAME="linear_$isa" \
        -DODR_BACKEND="qlite::cpu::${backend[$isa]}" -c "$here/linear.cpp" -o "$folder/$isa.o"
      "$compiler" -std=c++17 -O0 ${flags[$isa]} -DODR_NAME="control_$isa" -c "$here/control.cpp" -o "$folder/control_$isa.o"
    done
    "$compiler" -std=c++17 "$optimization" "$@" -c "$here/main.cpp" -o "$folder/main.o"
    "$compiler" "$folder"/{main,portable,avx2,avx512_vnni}.o -o "$folder/portable_first"
    "$compiler" "$folder"/{main,avx512_vnni,avx2,portable}.o -o "$folder/portable_last"
    ;;
  symbols)
    # The check must be able to fail: these objects share a function on purpose.
    if [ -z "$(leaks "$folder/control_portable.o" "$folder/control_avx2.o")" ]; then
      echo "the comparison does not see a function that two objects share"
      exit 1
    fi
    names=("${!flags[@]}")
    failed=0
    for ((i = 0; i < ${#names[@]}; ++i)); do
      for ((j = i + 1; j < ${#names[@]}; ++j)); do
        found=$(leaks "$folder/${names[i]}.o" "$folder/${names[j]}.o")
        if [ -n "$found" ]; then
          printf '%s and %s share:\n%s\n' "${names[i]}" "${names[j]}" "$found"
          failed=1
        fi
      done
    done
    exit $failed
    ;;
  run)
    "$folder/portable_first"
    "$folder/portable_last"
    ;;
  old_cpu)
    if ! command -v qemu-x86_64 > /dev/null; then
      echo "skipped: qemu-x86_64 is not installed (Debian: qemu-user)"
      exit 77
    fi
    # Nehalem has SSE4.2 and no AVX: an instruction that leaked ends the program with SIGILL.
    qemu-x86_64 -cpu Nehalem "$folder/portable_first"
    qemu-x86_64 -cpu Nehalem "$folder/portable_last"
    ;;
  *)
    echo "unknown step $step"
    exit 2
    ;;
esac
