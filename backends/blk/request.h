// A virtio-blk request, parsed from a chain into what can be carried out (virtio 1.2, 5.2.6).
#pragma once

#include <linux/virtio_blk.h>
#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>

#include "backends/virtio/chain.h"

namespace blk {

// Data buffers of one request that are served: the driver is told kMaxSegments, and a request that
// shares a descriptor between header, data and status needs no more.
inline constexpr std::uint32_t kMaxSegments = 126;

enum class Kind : std::uint8_t { Read, Write, Flush, GetId };

// Guest memory that a request reads or writes, in order.
class DataVector {
 public:
  std::span<iovec> rest() { return std::span(vector_).subspan(first_, count_ - first_); }
  std::uint64_t bytes() const { return bytes_; }  // that remain
  void clear();
  bool append(const iovec& part);  // false if it is full
  // Drops the first `bytes`, at most bytes(): they have been transferred.
  void advance(std::uint64_t bytes);

 private:
  std::array<iovec, kMaxSegments> vector_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::uint64_t bytes_ = 0;
};

// One that can be carried out. Read and Write lie inside the disk and are whole sectors.
struct Request {
  Kind kind = Kind::Flush;
  ipc::GuestBuffer status;       // one byte
  std::uint64_t offset = 0;      // bytes from the start of the disk
  DataVector data;               // of Read and Write
  std::uint32_t data_bytes = 0;  // of the chain's writable part, without the status byte
  std::uint32_t fills = 0;       // how many of them, from the start, hold data when it went well
};

// One that cannot: the status that virtio asks for, and where it goes. Without a place for it the
// chain goes back as it came.
struct Refusal {
  std::optional<ipc::GuestBuffer> place;
  std::uint8_t status;       // VIRTIO_BLK_S_IOERR or _UNSUPP
  std::uint32_t data_bytes;  // as in Request
};

struct DiskShape {
  std::uint64_t sectors;
  bool read_only;
};

// Parses `chain` into `request`, whose old contents are lost.
std::expected<void, Refusal> parse(const virtio::Chain& chain, const DiskShape& disk, Request& request);

// Answers a GetId that was parsed from `chain`.
void write_id(const virtio::Chain& chain, std::span<const std::byte, VIRTIO_BLK_ID_BYTES> id);

// Writes `status` to its `place`. The number for the used ring: how many bytes from the start of the
// writable part were written (virtio 1.2, 2.7.8.2), where `filled` of `data_bytes` bytes of data were.
std::uint32_t write_status(const ipc::GuestBuffer& place, std::uint8_t status, std::uint32_t filled,
                           std::uint32_t data_bytes);

}  // namespace blk
