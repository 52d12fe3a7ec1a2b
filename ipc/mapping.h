// Shared memory of this process, with one owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace ipc {

enum class Access : std::uint8_t { ReadOnly, ReadWrite };

class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  Mapping& operator=(Mapping&& other) noexcept {
    Mapping old(std::move(*this));  // unmaps what we held
    bytes_ = std::exchange(other.bytes_, {});
    return *this;
  }
  ~Mapping();

  // Maps `length` bytes (not 0) of `file` from `offset` (a multiple of the page size), shared, never
  // executable, left out of core dumps. Errors: those of mmap(2). The descriptor is only borrowed.
  static Result<Mapping> of(const UniqueFd& file, std::uint64_t offset, std::size_t length, Access access);

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  explicit Mapping(std::span<std::byte> bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes_;
};

}  // namespace ipc
