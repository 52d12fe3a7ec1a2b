// One request of the driver as the device may use it: a descriptor chain that was found to be valid.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "ipc/guest_memory.h"

namespace virtio {

// The longest chain, indirect or not, and the largest queue that this back end works with.
inline constexpr std::size_t kMaxChain = 1024;
inline constexpr std::uint16_t kMaxQueueSize = 1024;

// Why a chain was refused. The driver gets it back unused (length 0) and the ring goes on.
enum class ChainError : std::uint8_t {
  BadIndex,     // a next field beyond the table
  BadAddress,   // a buffer or table that does not lie in one region of guest memory
  EmptyBuffer,  // a descriptor of 0 bytes
  TooLong,      // more descriptors than the queue has (a loop is one), or than kMaxChain
  BadOrder,     // a readable buffer behind a writable one
  BadIndirect,  // an indirect table inside another, beside NEXT, of an odd size, or not negotiated
};

// Why a ring cannot go on: what it says can no longer be answered without guessing.
enum class RingError : std::uint8_t {
  BadAvailableIndex,  // more chains, or descriptors of them, made available than the queue has entries
  BadHead,            // a head beyond the descriptor table
  HeadInFlight,       // a head that the device has not yet given back
};

// The buffers of a chain, readable ones first (virtio 1.2, 2.7.4.2). Fixed storage: parsing allocates
// nothing. Large: one object for each device, used again for each chain.
class Chain {
 public:
  std::span<const ipc::GuestBuffer> readable() const { return std::span(buffers_).first(readable_); }
  std::span<const ipc::GuestBuffer> writable() const {
    return std::span(buffers_).subspan(readable_, count_ - readable_);
  }
  // Sums of buffer sizes: at most kMaxChain times the largest 32-bit length.
  std::uint64_t readable_bytes() const { return readable_bytes_; }
  std::uint64_t writable_bytes() const { return writable_bytes_; }

  void clear() {
    count_ = 0;
    readable_ = 0;
    readable_bytes_ = 0;
    writable_bytes_ = 0;
  }
  bool full() const { return count_ == buffers_.size(); }
  // Appends where there is room. False for a readable buffer after a writable one.
  bool append(const ipc::GuestBuffer& buffer, bool device_writes) {
    if (full() || (!device_writes && readable_ != count_)) return false;
    buffers_[count_++] = buffer;
    if (device_writes) {
      writable_bytes_ += buffer.size();
    } else {
      ++readable_;
      readable_bytes_ += buffer.size();
    }
    return true;
  }

 private:
  std::array<ipc::GuestBuffer, kMaxChain> buffers_;
  std::size_t count_ = 0;
  std::size_t readable_ = 0;
  std::uint64_t readable_bytes_ = 0;
  std::uint64_t writable_bytes_ = 0;
};

}  // namespace virtio
