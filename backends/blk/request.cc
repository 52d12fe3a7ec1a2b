#include "backends/blk/request.h"

#include <algorithm>
#include <limits>

#include "backends/blk/storage.h"

namespace blk {
namespace {

using ipc::GuestBuffer;

// Copies `out.size()` bytes from `skip` bytes after the start of `buffers`, however they are split.
bool copy_from(std::span<const GuestBuffer> buffers, std::uint64_t skip, std::span<std::byte> out) {
  for (const GuestBuffer& buffer : buffers) {
    if (out.empty()) break;
    const std::uint64_t skipped = std::min<std::uint64_t>(skip, buffer.size());
    skip -= skipped;
    out = out.subspan(buffer.part(skipped, buffer.size() - skipped)->copy_to(out));
  }
  return out.empty();
}

// Appends the bytes [skip, skip + length) of `buffers` to `data`. False if these are more parts than it takes.
bool append_range(std::span<const GuestBuffer> buffers, std::uint64_t skip, std::uint64_t length, DataVector& data) {
  for (const GuestBuffer& buffer : buffers) {
    if (length == 0) break;
    if (skip >= buffer.size()) {
      skip -= buffer.size();
      continue;
    }
    const std::uint64_t size = std::min<std::uint64_t>(buffer.size() - skip, length);
    if (!data.append(buffer.part(skip, size)->as_iovec())) return false;
    length -= size;
    skip = 0;
  }
  return true;
}

std::optional<Kind> kind_of(std::uint32_t type, const DiskShape& disk) {
  switch (type) {
    case VIRTIO_BLK_T_IN:
      return Kind::Read;
    case VIRTIO_BLK_T_OUT:
      return Kind::Write;
    case VIRTIO_BLK_T_FLUSH:
      return Kind::Flush;
    case VIRTIO_BLK_T_GET_ID:
      return Kind::GetId;
    case VIRTIO_BLK_T_DISCARD:
      return disk.discard ? std::optional(Kind::Discard) : std::nullopt;
    case VIRTIO_BLK_T_WRITE_ZEROES:
      return disk.write_zeroes ? std::optional(Kind::WriteZeroes) : std::nullopt;
    default:
      return std::nullopt;
  }
}

bool inside(const DiskShape& disk, std::uint64_t sector, std::uint64_t bytes) {
  return sector <= disk.sectors && bytes / kSectorBytes <= disk.sectors - sector;
}

// 5.2.6: after the header come segments of {sector, num_sectors, flags}. The status is VIRTIO_BLK_S_OK
// when all of them can be carried out.
std::uint8_t parse_ranges(const virtio::Chain& chain, const DiskShape& disk, Kind kind, RangeList& ranges) {
  constexpr std::uint64_t kSegment = sizeof(virtio_blk_discard_write_zeroes);
  const bool discard = kind == Kind::Discard;
  const std::uint64_t bytes = chain.readable_bytes() - sizeof(virtio_blk_outhdr);
  if (bytes == 0 || bytes % kSegment != 0 || bytes / kSegment > kMaxRanges) return VIRTIO_BLK_S_IOERR;
  if (disk.read_only) return VIRTIO_BLK_S_IOERR;
  ranges.clear();
  for (std::uint64_t at = 0; at < bytes; at += kSegment) {
    virtio_blk_discard_write_zeroes segment;
    if (!copy_from(chain.readable(), sizeof(virtio_blk_outhdr) + at, std::as_writable_bytes(std::span(&segment, 1))))
      return VIRTIO_BLK_S_IOERR;
    // 5.2.6.2: unknown flags, and unmap of a discard, are UNSUPP.
    const std::uint32_t allowed = discard ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
    if ((segment.flags & ~allowed) != 0) return VIRTIO_BLK_S_UNSUPP;
    const std::uint64_t length = std::uint64_t{segment.num_sectors} * kSectorBytes;
    if (segment.num_sectors > (discard ? kMaxDiscardSectors : kMaxZeroSectors) || !inside(disk, segment.sector, length))
      return VIRTIO_BLK_S_IOERR;
    if (length > 0) ranges.append({segment.sector * kSectorBytes, length, discard || segment.flags != 0});
  }
  return VIRTIO_BLK_S_OK;
}

}  // namespace

void DataVector::advance(std::uint64_t bytes) {
  bytes_ -= bytes;
  while (bytes > 0) {
    iovec& part = vector_[first_];
    const std::uint64_t taken = std::min<std::uint64_t>(bytes, part.iov_len);
    part.iov_base = static_cast<std::byte*>(part.iov_base) + taken;
    part.iov_len -= taken;
    bytes -= taken;
    if (part.iov_len == 0) ++first_;
  }
}

std::expected<void, Refusal> parse(const virtio::Chain& chain, const DiskShape& disk, Request& request) {
  // 5.2.6: a 16-byte header, data, and a status byte at the very end; 2.7.4.1: the device assumes
  // nothing about how they are split over descriptors.
  if (chain.writable_bytes() == 0) return std::unexpected(Refusal{std::nullopt, VIRTIO_BLK_S_IOERR, 0});
  const GuestBuffer& last = chain.writable().back();
  request.status = *last.part(last.size() - 1, 1);
  request.data.clear();
  const std::uint64_t writable = chain.writable_bytes() - 1;
  const auto refuse = [&](std::uint8_t status) {
    constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
    return std::unexpected(Refusal{request.status, status, static_cast<std::uint32_t>(std::min(writable, kMost))});
  };

  virtio_blk_outhdr header;
  const bool at_once = !chain.readable().empty() && chain.readable().front().load(0, header);
  if (!at_once && !copy_from(chain.readable(), 0, std::as_writable_bytes(std::span(&header, 1))))
    return refuse(VIRTIO_BLK_S_IOERR);
  const std::uint64_t readable = chain.readable_bytes() - sizeof header;

  const std::optional<Kind> kind = kind_of(header.type, disk);
  if (!kind) return refuse(VIRTIO_BLK_S_UNSUPP);  // 5.2.6.2
  // One read(2) or write(2) moves less than 2 GiB; the used ring counts in 32 bits.
  if (std::max(readable, writable) > std::numeric_limits<std::int32_t>::max()) return refuse(VIRTIO_BLK_S_IOERR);
  request.kind = *kind;
  request.data_bytes = static_cast<std::uint32_t>(writable);
  request.fills = 0;
  request.by_writing = false;

  switch (*kind) {
    case Kind::Flush:
      return {};
    case Kind::GetId:
      if (writable < VIRTIO_BLK_ID_BYTES) return refuse(VIRTIO_BLK_S_IOERR);
      request.fills = VIRTIO_BLK_ID_BYTES;
      return {};
    case Kind::Discard:
    case Kind::WriteZeroes: {
      const std::uint8_t status = parse_ranges(chain, disk, *kind, request.ranges);
      if (status != VIRTIO_BLK_S_OK) return refuse(status);
      return {};
    }
    case Kind::Read:
    case Kind::Write: {
      const bool read = *kind == Kind::Read;
      // 5.2.6.2: a write to a read-only device ends with IOERR and writes no data.
      if (!read && disk.read_only) return refuse(VIRTIO_BLK_S_IOERR);
      const std::uint64_t bytes = read ? writable : readable;
      if (bytes % kSectorBytes != 0 || !inside(disk, header.sector, bytes)) return refuse(VIRTIO_BLK_S_IOERR);
      const bool fits = read ? append_range(chain.writable(), 0, bytes, request.data)
                             : append_range(chain.readable(), sizeof header, bytes, request.data);
      if (!fits) return refuse(VIRTIO_BLK_S_IOERR);
      request.offset = header.sector * kSectorBytes;
      if (read) request.fills = request.data_bytes;
      return {};
    }
  }
  __builtin_unreachable();  // all kinds return
}

bool RangeList::append(const Range& range) {
  if (count_ == ranges_.size()) return false;
  ranges_[count_++] = range;
  return true;
}

void append_zeroes(DataVector& data, std::uint64_t bytes) {
  alignas(4096) static std::array<std::byte, 64 << 10> zeroes{};  // only read from
  while (bytes > 0) {
    const std::size_t size = std::min<std::uint64_t>(bytes, zeroes.size());
    if (!data.append({zeroes.data(), size})) return;
    bytes -= size;
  }
}

void write_id(const virtio::Chain& chain, std::span<const std::byte, VIRTIO_BLK_ID_BYTES> id) {
  std::span<const std::byte> rest = id;
  for (const GuestBuffer& buffer : chain.writable()) {
    if (rest.empty()) break;
    rest = rest.subspan(buffer.copy_from(rest));
  }
}

std::uint32_t write_status(const GuestBuffer& place, std::uint8_t status, std::uint32_t filled,
                           std::uint32_t data_bytes) {
  place.store(status);
  return filled == data_bytes ? filled + 1 : filled;
}

}  // namespace blk
