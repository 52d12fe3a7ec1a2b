// A guest's memory, rings and all, as a hostile driver would write it: chains and requests are parsed from it.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "backends/blk/request.h"
#include "backends/virtio/split_queue.h"
#include "tests/support/fake_driver.h"

namespace {

constexpr std::size_t kRam = 64 << 10;
constexpr std::uint16_t kSize = 16;
// The input is this memory from its start: descriptors, available ring, then buffers and indirect tables.
constexpr virtio::RingAddresses kRings{{0}, {16 * kSize}, {512}};

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ipc::UniqueFd file = support::make_memfd(kRam, support::kSeals);
  static ipc::Mapping view = ipc::Mapping::of(file, 0, kRam, ipc::Access::ReadWrite).value();
  static virtio::Chain chain;
  static blk::Request request;

  const std::span<std::byte> ram = view.bytes();
  std::ranges::fill(ram, std::byte{0});
  if (size > 0) std::memcpy(ram.data(), data, std::min(size, kRam));

  ipc::GuestMemory memory;
  auto mapping = ipc::Mapping::of(file, 0, kRam, ipc::Access::ReadWrite);
  require(mapping && memory.add_region({0}, kRam, std::move(*mapping)));
  auto queue = virtio::SplitQueue::create(memory, kSize, kRings, {.indirect = true, .event_idx = true}, 0);
  require(queue.has_value());

  const blk::DiskShape disk{.sectors = 100, .read_only = size % 2 == 1, .discard = true, .write_zeroes = true};
  while (true) {
    const auto head = queue->next(chain);
    if (!head || !*head) break;
    std::uint32_t written = 0;
    if ((*head)->chain) {
      const auto parsed = blk::parse(chain, disk, request);
      if (parsed) {
        const bool moves = request.kind == blk::Kind::Read || request.kind == blk::Kind::Write;
        require(!moves || request.offset / 512 + request.data.bytes() / 512 <= disk.sectors);
        require(!(request.kind == blk::Kind::Write && disk.read_only));
        if (request.kind == blk::Kind::Discard || request.kind == blk::Kind::WriteZeroes) {
          require(!disk.read_only);
          for (const blk::Range& range : request.ranges.rest())
            require(range.bytes > 0 && range.bytes <= 512 * disk.sectors &&
                    range.offset <= 512 * disk.sectors - range.bytes);
        }
        std::uint64_t bytes = 0;
        for (const iovec& part : request.data.rest()) bytes += part.iov_len;
        require(bytes == request.data.bytes());
        request.data.advance(bytes / 2);
        written = blk::write_status(request.status, VIRTIO_BLK_S_OK, request.fills, request.data_bytes);
      } else if (parsed.error().place) {
        written = blk::write_status(*parsed.error().place, parsed.error().status, 0, parsed.error().data_bytes);
      }
    }
    queue->complete((*head)->index, written);
    queue->publish();
    require(queue->in_flight() == 0);
  }
  return 0;
}
