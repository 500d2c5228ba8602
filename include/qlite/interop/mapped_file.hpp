// A file in memory, read only.
#pragma once

#include <qlite/core/buffer.hpp>
#include <qlite/core/error.hpp>
#include <qlite/core/view.hpp>

#include <cerrno>
#include <cstdio>
#include <cstring>

#if defined(__unix__) || defined(__APPLE__)
#define QLITE_DETAIL_MMAP 1
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

QLITE_BEGIN_NAMESPACE
class mapped_file;
QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {
bytes_view map_file(const char* path, buffer& copy);
void unmap_file(bytes_view bytes) noexcept;
}    // namespace impl
QLITE_END_FUNCTIONS

QLITE_BEGIN_NAMESPACE

/// The bytes of a file: mapped where the system has mmap (pages come in as they are touched and may be dropped again),
/// read as a whole elsewhere. Movable, not copyable. A file that another process shortens while it is mapped ends this
/// process with SIGBUS when the missing part is read: that is how mmap is defined.
class mapped_file {
 public:
  QLITE_INLINE mapped_file() noexcept = default;
  /// Error: the file cannot be opened, is no regular file, or cannot be mapped.
  QLITE_INLINE explicit mapped_file(const char* path) : bytes_(impl::map_file(path, copy_)) {}
  QLITE_INLINE mapped_file(mapped_file&& other) noexcept
      : copy_(static_cast<detail::buffer&&>(other.copy_)), bytes_(other.bytes_) {
    other.bytes_ = {};
  }
  QLITE_INLINE mapped_file& operator=(mapped_file&& other) noexcept {
    const bytes_view bytes = bytes_;
    copy_ = static_cast<detail::buffer&&>(other.copy_);    // swaps
    bytes_ = other.bytes_;
    other.bytes_ = bytes;
    return *this;
  }
  QLITE_INLINE ~mapped_file() { impl::unmap_file(bytes_); }

  QLITE_INLINE bytes_view bytes() const noexcept { return bytes_; }

 private:
  detail::buffer copy_;    // only where there is no mmap
  bytes_view bytes_;
};

QLITE_END_NAMESPACE

QLITE_BEGIN_FUNCTIONS
namespace impl {

[[noreturn]] QLITE_COLD inline void fail_open(const char* path, const char* reason) {
  fail("qlite: cannot read \"%.300s\": %s", path, reason);
}

#if defined(QLITE_DETAIL_MMAP)

inline bytes_view map_file(const char* path, buffer&) {
  if (path == nullptr) fail("qlite: path is null, expected the name of a file");
  const int descriptor = ::open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_open(path, std::strerror(errno));
  struct ::stat status;
  const char* reason = nullptr;
  void* data = nullptr;
  std::size_t size = 0;
  if (::fstat(descriptor, &status) != 0) {
    reason = std::strerror(errno);
  } else if (!S_ISREG(status.st_mode)) {
    reason = "not a regular file";
  } else if (static_cast<std::uint64_t>(status.st_size) > ~std::size_t{0} / 2) {
    reason = "larger than the address space";
  } else if (status.st_size > 0) {    // mmap refuses a length of 0
    size = static_cast<std::size_t>(status.st_size);
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (data == MAP_FAILED) reason = std::strerror(errno);
  }
  ::close(descriptor);    // the mapping outlives it
  if (reason != nullptr) fail_open(path, reason);
  return {data, size};
}

inline void unmap_file(bytes_view bytes) noexcept {
  if (bytes.size() != 0) ::munmap(const_cast<std::uint8_t*>(bytes.data()), bytes.size());
}

#else

inline bytes_view map_file(const char* path, buffer& copy) {
  if (path == nullptr) fail("qlite: path is null, expected the name of a file");
  std::FILE* const file = std::fopen(path, "rb");
  if (file == nullptr) fail_open(path, std::strerror(errno));
  bool good = std::fseek(file, 0, SEEK_END) == 0;
  const long size = good ? std::ftell(file) : -1;
  good = size >= 0 && std::fseek(file, 0, SEEK_SET) == 0;
  if (good) {
    copy = buffer(static_cast<std::size_t>(size));
    good = std::fread(copy.data(), 1, copy.size(), file) == copy.size();
  }
  std::fclose(file);
  if (!good) fail_open(path, "it could not be read to its end");
  return {copy.data(), copy.size()};
}

inline void unmap_file(bytes_view) noexcept {}

#endif

}    // namespace impl
QLITE_END_FUNCTIONS
