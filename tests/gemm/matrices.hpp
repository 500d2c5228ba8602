// Matrices for the tests of packing and products: views that are as awkward as the contract allows, with guards around
// what may be written, and quantized matrices in which every code, zero point and sign of a scale occurs.
#pragma once

#include <qlite/gemm.hpp>

#include <cstring>
#include <type_traits>
#include <vector>

#include "support/property.hpp"

namespace qlite_test {

template <class T>
float to_float(T x) {
  return qlite::detail::element<T>::load(x);
}
template <class T>
T from_float(float x) {
  return qlite::detail::element<T>::store(x);
}

// A matrix whose first element is aligned to alignof(T) and to nothing more, with rows further apart than they are
// long. What lies before, between and behind the rows is filled with a pattern.
template <class T>
class awkward_matrix {
 public:
  awkward_matrix(std::size_t rows, std::size_t cols, std::size_t gap) : rows_(rows), cols_(cols), stride_(cols + gap) {
    // The memory ends with the last element, so that the address sanitizer sees reads beyond it.
    const std::size_t elements = rows == 0 ? 0 : (rows - 1) * stride_ + cols;
    bytes_.assign(shift() + elements * sizeof(T) + guard, pattern);
  }

  T* data() { return reinterpret_cast<T*>(base() + shift()); }
  T& operator()(std::size_t r, std::size_t c) { return data()[r * stride_ + c]; }
  qlite::matrix_view<T> view() { return {data(), rows_, cols_, stride_}; }
  qlite::matrix_view<const T> const_view() { return view(); }
  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }

  // Whether everything but the elements still holds the pattern.
  bool guards_are_intact() {
    std::vector<bool> inside(bytes_.size(), false);
    for (std::size_t r = 0; r < rows_; ++r)
      for (std::size_t i = 0; i < cols_ * sizeof(T); ++i)
        inside[static_cast<std::size_t>(base() - bytes_.data()) + shift() + r * stride_ * sizeof(T) + i] = true;
    for (std::size_t i = 0; i < bytes_.size(); ++i)
      if (!inside[i] && bytes_[i] != pattern) return false;
    return true;
  }

 private:
  static constexpr std::uint8_t pattern = 0xa5;
  static constexpr std::size_t guard = 64;
  // std::vector's memory is aligned to 16 bytes: one element further is aligned to no vector.
  static constexpr std::size_t shift() { return guard + sizeof(T); }
  std::uint8_t* base() { return bytes_.data(); }

  std::vector<std::uint8_t> bytes_;
  std::size_t rows_, cols_, stride_;
};

// An input whose memory ends with its last element.
template <class T>
class input_matrix {
 public:
  input_matrix(std::size_t rows, std::size_t cols, std::size_t gap)
      : values_(rows == 0 ? 0 : 1 + (rows - 1) * (cols + gap) + cols, from_float<T>(1e30f)),
        rows_(rows),
        cols_(cols),
        stride_(cols + gap) {}

  T& operator()(std::size_t r, std::size_t c) { return values_[1 + r * stride_ + c]; }
  float at(std::size_t r, std::size_t c) const { return to_float(values_[1 + r * stride_ + c]); }
  std::vector<float> row(std::size_t r) const {
    std::vector<float> values(cols_);
    for (std::size_t c = 0; c < cols_; ++c) values[c] = at(r, c);
    return values;
  }
  qlite::matrix_view<const T> view() const { return rows_of(0, rows_); }
  qlite::matrix_view<const T> rows_of(std::size_t begin, std::size_t end) const {
    if (values_.empty()) return {nullptr, 0, cols_, stride_};
    return {values_.data() + 1 + begin * stride_, end - begin, cols_, stride_};
  }
  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }

 private:
  std::vector<T> values_;
  std::size_t rows_, cols_, stride_;
};

template <class T>
input_matrix<T> random_inputs(random_source& random, std::size_t rows, std::size_t cols) {
  input_matrix<T> x(rows, cols, random.integer(0, 3));
  for (std::size_t r = 0; r < rows; ++r) {
    const float scale = random.uniform(0.01f, 4.0f);
    for (std::size_t c = 0; c < cols; ++c) x(r, c) = from_float<T>(scale * random.normal());
  }
  return x;
}

// Memory of exactly `size` bytes at an odd address, with guards around it.
class guarded_memory {
 public:
  explicit guarded_memory(std::size_t size) : bytes_(size + 2 * guard + 1, 0x5a), size_(size) {}
  void* data() { return bytes_.data() + guard + 1; }
  std::size_t size() const { return size_; }
  qlite::workspace workspace() { return {data(), size_}; }
  bool guards_are_intact() const {
    for (std::size_t i = 0; i < bytes_.size(); ++i)
      if ((i <= guard || i > guard + size_) && bytes_[i] != 0x5a) return false;
    return true;
  }

 private:
  static constexpr std::size_t guard = 128;
  std::vector<std::uint8_t> bytes_;
  std::size_t size_;
};

// A product's shape: small ones with all their tails, now and then more than one block of rows or of strips.
struct case_shape {
  std::size_t m, n, k, group;
};

inline case_shape random_shape(random_source& random) {
  case_shape s;
  s.m = random.extent(0, 40);
  s.n = random.extent(0, 70);
  s.k = random.extent(0, 700);
  switch (random.bits() % 8) {
    case 0:    // more than one block of rows
      s = {random.integer(129, 280), random.integer(1, 40), random.integer(1, 100), 0};
      break;
    case 1:    // more than one tile of strips
      s = {random.integer(0, 20), random.integer(70, 300), random.integer(1, 200), 0};
      break;
    default:
      break;
  }
  s.group = random.pick<std::size_t>({1, 3, 8, 16, 24, 31, 32, 48, 64, 100, 128, s.k, s.k + 1, 1000});
  if (s.group == 0) s.group = 1;
  return s;
}

// The value of a scheme type, with a group size where that is chosen at run time.
template <class Scheme>
Scheme with_group(std::size_t group) {
  Scheme scheme{};
  if constexpr (qlite::detail::scheme_traits<Scheme>::dynamic_group) scheme.granularity.size = group;
  static_cast<void>(group);
  return scheme;
}

// Writes field i of a row of codes or zero points.
template <class Scheme>
void put_field(std::uint8_t* row, std::size_t i, int field) {
  if constexpr (qlite::detail::scheme_traits<Scheme>::bits == 4) {
    const int shift = 4 * static_cast<int>(i % 2);
    row[i / 2] = static_cast<std::uint8_t>((row[i / 2] & ~(15 << shift)) | ((field & 15) << shift));
  } else {
    row[i] = static_cast<std::uint8_t>(field);
  }
}

// A quantized matrix from functions of (row, k) -> code, (row, group) -> zero point, scale, offset.
template <class Scheme, class Code, class Zero, class Scale, class Offset>
qlite::quantized_matrix<Scheme> make_quantized(std::size_t rows, std::size_t cols, Scheme scheme, Code&& code,
                                               Zero&& zero, Scale&& scale, Offset&& offset) {
  using traits = qlite::detail::scheme_traits<Scheme>;
  qlite::quantized_matrix<Scheme> q(rows, cols, scheme);
  const auto& shape = q.shape();
  if (shape.code_bytes() != 0) std::memset(q.codes(), 0, shape.code_bytes());
  if (shape.zero_bytes() != 0) std::memset(q.zeros(), 0, shape.zero_bytes());
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t k = 0; k < cols; ++k)
      put_field<Scheme>(q.codes() + r * shape.code_row_bytes(), k, code(r, k) + traits::stored_bias);
  for (std::size_t r = 0; r < shape.scale_rows(); ++r) {
    for (std::size_t g = 0; g < shape.groups(); ++g) {
      const std::size_t at = r * shape.groups() + g;
      q.scales()[at] = from_float<typename traits::scale>(scale(r, g));
      if constexpr (traits::has_zero_point) put_field<Scheme>(q.zeros() + r * shape.zero_row_bytes(), g, zero(r, g));
      if constexpr (traits::has_offset) q.offsets()[at] = from_float<typename traits::offset_type>(offset(r, g));
    }
  }
  static_cast<void>(zero), static_cast<void>(offset);
  return q;
}

// Every code and zero point of the scheme's range, scales of either sign (GGUF has both).
template <class Scheme>
qlite::quantized_matrix<Scheme> random_quantized(random_source& random, std::size_t rows, std::size_t cols,
                                                 Scheme scheme) {
  using traits = qlite::detail::scheme_traits<Scheme>;
  const auto any_code = [&] {
    return traits::code_min +
           static_cast<int>(random.integer(0, static_cast<std::size_t>(traits::code_max - traits::code_min)));
  };
  return make_quantized<Scheme>(
      rows, cols, scheme, [&](std::size_t, std::size_t) { return any_code(); },
      [&](std::size_t, std::size_t) { return any_code(); },
      [&](std::size_t, std::size_t) { return random.uniform(0.001f, 0.1f) * (random.chance(0.2) ? -1.0f : 1.0f); },
      [&](std::size_t, std::size_t) { return random.uniform(-1.0f, 1.0f); });
}

// Packed weights in memory of their own that is aligned to 4 bytes and no more.
template <class Backend, class Scheme>
class packed_awkwardly {
 public:
  explicit packed_awkwardly(const qlite::quantized_matrix<Scheme>& q)
      : words_(qlite::packed_bytes<Scheme, Backend>(q.rows(), q.cols(), q.scheme()) / 4 + 1),
        view_(qlite::pack<Backend>(q.view(), words_.data() + 1, 4 * (words_.size() - 1))) {}
  const qlite::packed_view<Scheme, Backend>& view() const { return view_; }

 private:
  std::vector<std::uint32_t> words_;
  qlite::packed_view<Scheme, Backend> view_;
};

template <class Scheme>
bool same_bytes(const qlite::quantized_view<Scheme>& a, const qlite::quantized_view<Scheme>& b) {
  const auto same = [](const void* p, const void* q, std::size_t n) { return n == 0 || std::memcmp(p, q, n) == 0; };
  return a.rows() == b.rows() && a.cols() == b.cols() && a.group_size() == b.group_size() &&
         same(a.codes(), b.codes(), a.shape().code_bytes()) && same(a.scales(), b.scales(), a.shape().scale_bytes()) &&
         same(a.zeros(), b.zeros(), a.shape().zero_bytes()) && same(a.offsets(), b.offsets(), a.shape().offset_bytes());
}

}    // namespace qlite_test
