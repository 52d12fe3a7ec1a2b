// Block requests over a FakeQueue, and a disk image to serve. Header-only; asserts nothing.
#pragma once

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "tests/support/fake_driver.h"

namespace support {

inline constexpr std::size_t kSector = 512;
inline constexpr std::uint8_t kUntouched = 0xaa;  // a status byte that nobody wrote

enum class DiskPlace : std::uint8_t { Here, Memory };

// A disk whose byte i of sector s is s + i: a file without a name in the current folder, or in memory.
inline ipc::UniqueFd make_disk(std::size_t sectors, DiskPlace place = DiskPlace::Here) {
  ipc::UniqueFd disk(place == DiskPlace::Here ? ::open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)
                                              : ::memfd_create("test-disk", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  for (std::size_t s = 0; s < sectors; ++s) {
    std::array<std::uint8_t, kSector> sector;
    for (std::size_t i = 0; i < kSector; ++i) sector[i] = static_cast<std::uint8_t>(s + i);
    if (::pwrite(disk.get(), sector.data(), kSector, static_cast<off_t>(s * kSector)) != ssize_t{kSector}) return {};
  }
  return disk;
}

// A request in guest RAM: header, data, status, which link() takes as descriptors.
struct BlkRequest {
  std::uint64_t header;
  std::uint64_t data;
  std::uint64_t status;
  std::uint32_t bytes;
  bool device_writes;

  std::vector<Descriptor> parts() const {
    std::vector<Descriptor> list{{header, 16}};
    if (bytes > 0) list.push_back({data, bytes, device_writes ? kWrite : std::uint16_t{0}});
    list.push_back({status, 1, kWrite});
    return list;
  }
};

inline BlkRequest make_request(GuestRam& ram, std::uint32_t type, std::uint64_t sector, std::uint32_t bytes) {
  const BlkRequest request{ram.allocate(16), ram.allocate(bytes), ram.allocate(1), bytes, type != VIRTIO_BLK_T_OUT};
  ram.object<virtio_blk_outhdr>(request.header) = {.type = type, .ioprio = 0, .sector = sector};
  ram.object<std::uint8_t>(request.status) = kUntouched;
  return request;
}

// Offers the request, kicks and waits. The status byte, or kUntouched if it did not come back.
inline std::uint8_t carry_out(GuestRam& ram, FakeQueue& queue, const BlkRequest& request, bool indirect = false) {
  queue.offer(indirect ? queue.link_indirect(request.parts()) : queue.link(request.parts()));
  queue.kick();
  (void)queue.wait_used();
  return ram.object<std::uint8_t>(request.status);
}

}  // namespace support
