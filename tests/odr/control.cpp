// A translation unit that does what qlite must not: each object that holds it emits the same function.
template <class T>
__attribute__((noinline)) T doubled(T value) {
  return value + value;
}

float ODR_NAME(float value) { return doubled(value); }
