// A virtio-blk request, parsed from a chain into what can be carried out (virtio 1.2, 5.2.6).
#pragma once

#include <linux/virtio_blk.h>
#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string_view>

#include "backends/virtio/chain.h"

namespace blk {

// Data buffers of one request that are served: the driver is told kMaxSegments, and a request that
// shares a descriptor between header, data and status needs no more.
inline constexpr std::uint32_t kMaxSegments = 126;

// Ranges of one DISCARD or WRITE_ZEROES, and sectors of one range, as the driver is told (virtio 1.2,
// 5.2.4). The latter bound how long a request can take.
inline constexpr std::uint32_t kMaxRanges = 16;
inline constexpr std::uint32_t kMaxDiscardSectors = 1 << 21;
inline constexpr std::uint32_t kMaxZeroSectors = 1 << 15;

enum class Kind : std::uint8_t { Read, Write, Flush, GetId, Discard, WriteZeroes };
// What telemetry calls them, in that order.
inline constexpr std::array<std::string_view, 6> kOperationNames{"read", "write", "flush", "id", "discard", "zeroes"};

// Guest memory that a request reads or writes, in order. clear() comes first.
class DataVector {
 public:
  std::span<iovec> rest() { return std::span(vector_).subspan(first_, count_ - first_); }
  std::uint64_t bytes() const { return bytes_; }  // that remain
  void clear() { first_ = count_ = bytes_ = 0; }
  bool append(const iovec& part) {  // false if it is full
    if (count_ == vector_.size()) return false;
    vector_[count_++] = part;
    bytes_ += part.iov_len;
    return true;
  }
  // Drops the first `bytes`, at most bytes(): they have been transferred.
  void advance(std::uint64_t bytes);

 private:
  std::array<iovec, kMaxSegments> vector_;
  std::size_t first_;
  std::size_t count_;
  std::uint64_t bytes_;
};

// Appends zeroes to `data`: `bytes` of them, or as many as fit.
void append_zeroes(DataVector& data, std::uint64_t bytes);

// A part of the disk to discard or fill with zeroes. Not empty.
struct Range {
  std::uint64_t offset;  // bytes
  std::uint64_t bytes;
  bool unmap;  // may be deallocated
};

// clear() comes first.
class RangeList {
 public:
  std::span<Range> rest() { return std::span(ranges_).subspan(first_, count_ - first_); }
  void clear() { first_ = count_ = 0; }
  bool append(const Range& range);  // false if it is full
  void drop_first() { ++first_; }   // of rest(), not empty

 private:
  std::array<Range, kMaxRanges> ranges_;
  std::size_t first_;
  std::size_t count_;
};

// One that can be carried out. Read and Write lie inside the disk and are whole sectors. It is as large as the
// largest request, and most are small: what parse() does not need, it does not touch.
struct Request {
  Kind kind;
  bool by_writing;           // a WriteZeroes that storage cannot do otherwise
  ipc::GuestBuffer status;   // one byte
  std::uint64_t offset;      // bytes from the start of the disk
  std::uint32_t data_bytes;  // of the chain's writable part, without the status byte
  std::uint32_t fills;       // how many of them, from the start, hold data when it went well
  DataVector data;           // of Read and Write
  RangeList ranges;          // of Discard and WriteZeroes: inside the disk
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
  bool discard = false;       // the driver accepted VIRTIO_BLK_F_DISCARD
  bool write_zeroes = false;  // VIRTIO_BLK_F_WRITE_ZEROES
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
