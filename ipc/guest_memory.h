// The guest's RAM as this process may touch it: through bounded windows, never through references.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "ipc/mapping.h"

namespace ipc {

struct GuestAddress {
  std::uint64_t value;
  friend auto operator<=>(const GuestAddress&, const GuestAddress&) = default;
};

// Another process (or the guest) writes shared memory at any time: every field is read exactly once.
template <class T>
T load_once(const T& shared, std::memory_order order = std::memory_order_relaxed) {
  return std::atomic_ref(const_cast<T&>(shared)).load(order);
}

// And written as a whole, so that nobody sees half of it.
template <class T>
void store_once(T& shared, std::type_identity_t<T> value, std::memory_order order = std::memory_order_relaxed) {
  std::atomic_ref(shared).store(value, order);
}

// A range of guest RAM that was found inside one region. Valid while the GuestMemory lives.
class GuestBuffer {
 public:
  GuestBuffer() = default;
  std::size_t size() const { return bytes_.size(); }
  iovec as_iovec() const { return {bytes_.data(), bytes_.size()}; }  // bulk data: the kernel copies

  // Copy min(size(), out.size()) bytes out of, or min(size(), in.size()) bytes into guest RAM, once. The number copied.
  std::size_t copy_to(std::span<std::byte> out) const;
  std::size_t copy_from(std::span<const std::byte> in) const;
  void fill(std::byte value) const;

  // The bytes from `offset` on, at most `length`; nothing if the buffer is shorter than that.
  std::optional<GuestBuffer> part(std::size_t offset, std::size_t length) const {
    if (offset > bytes_.size() || length > bytes_.size() - offset) return std::nullopt;
    return GuestBuffer(bytes_.subspan(offset, length));
  }

  // Copies the `index`th T of the buffer out of guest RAM, once, whatever its alignment. False if there is none.
  template <class T>
    requires std::is_trivially_copyable_v<T>
  bool load(std::size_t index, T& out) const {
    if (index >= bytes_.size() / sizeof(T)) return false;
    std::memcpy(&out, bytes_.data() + index * sizeof(T), sizeof(T));
    std::atomic_signal_fence(std::memory_order_seq_cst);  // the compiler may not fetch the source again
    return true;
  }

  // Copies `value` to the start of the buffer, whatever its alignment. False if it has no room.
  template <class T>
    requires std::is_trivially_copyable_v<T>
  bool store(const T& value) const {
    if (bytes_.size() < sizeof(T)) return false;
    std::memcpy(bytes_.data(), &value, sizeof(T));
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return true;
  }

  // The buffer as `count` shared objects of type T, for rings: each is only to be touched by
  // load_once() and std::atomic_ref. Nothing if it is too short or misaligned for T.
  template <class T>
    requires std::is_trivially_copyable_v<T>
  std::optional<std::span<T>> objects(std::size_t count) const {
    if (count > bytes_.size() / sizeof(T)) return std::nullopt;
    if (reinterpret_cast<std::uintptr_t>(bytes_.data()) % alignof(T) != 0) return std::nullopt;
    // SAFETY: bounds and alignment are checked above; T is trivially copyable, so any bytes are a T;
    // the mapping outlives the buffer by this class's contract.
    return std::span(reinterpret_cast<T*>(bytes_.data()), count);
  }

 private:
  friend class GuestMemory;
  explicit GuestBuffer(std::span<std::byte> bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes_;
};

class GuestMemory {
 public:
  // Adds `length` bytes at `base`, found at `offset` in `mapping`. False, and nothing changes, if the
  // range is empty, leaves the mapping, wraps around the address space, or overlaps another region.
  bool add_region(GuestAddress base, std::uint64_t length, Mapping mapping, std::uint64_t offset = 0);
  // Drops the region of exactly this range. False if there is none.
  bool remove_region(GuestAddress base, std::uint64_t length);
  void clear() { regions_.clear(); }
  bool empty() const { return regions_.empty(); }

  // The `length` bytes at `start` if they lie in one region. A length of 0 inside a region is a buffer of 0 bytes.
  std::optional<GuestBuffer> slice(GuestAddress start, std::uint64_t length) const {
    // Two numbers of a guest are never added. A start below the region is an offset beyond its end, modulo
    // 2^64, as no region wraps.
    for (const Region& region : regions_) {
      const std::uint64_t offset = start.value - region.base.value;
      if (offset >= region.bytes.size()) continue;
      if (length > region.bytes.size() - offset) return std::nullopt;
      return GuestBuffer(region.bytes.subspan(offset, length));
    }
    return std::nullopt;
  }

  // All of it, as this process has it mapped, a range for each region.
  std::vector<iovec> mapped() const;

  // Where a buffer that came from slice() lies in guest memory.
  GuestAddress address_of(const GuestBuffer& buffer) const;

 private:
  struct Region {
    GuestAddress base;
    std::span<std::byte> bytes;
    Mapping mapping;  // owns `bytes`
  };
  std::vector<Region> regions_;
};

}  // namespace ipc
