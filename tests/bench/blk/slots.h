// The requests of one queue: a slot each, with its header, data and status in guest RAM and one chain of
// descriptors that is written once. Both ring formats take chains as parts() gives them.
#pragma once

#include <linux/virtio_blk.h>

#include <array>
#include <cstdint>
#include <vector>

#include "tests/support/fake_driver.h"

namespace bench {

inline constexpr std::uint16_t kParts = 3;  // header, data, status

class Slots {
 public:
  // Each slot's memory is aligned to pages, so that it may be read into directly.
  static constexpr std::size_t kAlignment = 4096;

  Slots(support::GuestRam& ram, std::uint16_t count, std::uint32_t block) : block_(block) {
    for (std::uint16_t i = 0; i < count; ++i) {
      Slot& slot = slots_.emplace_back();
      slot.data = ram.allocate(block, kAlignment);
      slot.header = ram.allocate(sizeof(virtio_blk_outhdr));
      slot.status = ram.allocate(1);
      slot.table = ram.allocate(kParts * sizeof(support::Descriptor));
      slot.header_in_ram = &ram.object<virtio_blk_outhdr>(slot.header);
      slot.status_in_ram = &ram.object<volatile std::uint8_t>(slot.status);
    }
  }
  static std::size_t bytes_of_ram(std::uint16_t count, std::uint32_t block) { return count * (block + 2 * kAlignment); }

  std::uint16_t count() const { return static_cast<std::uint16_t>(slots_.size()); }
  std::uint64_t table(std::uint16_t slot) const { return slots_[slot].table; }
  std::array<support::Descriptor, kParts> parts(std::uint16_t index) const {
    const Slot& slot = slots_[index];
    return {{{slot.header, sizeof(virtio_blk_outhdr)}, {slot.data, block_}, {slot.status, 1, support::kWrite}}};
  }

  void fill(std::uint16_t index, bool write, std::uint64_t sector) {
    Slot& slot = slots_[index];
    slot.header_in_ram->type = write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
    slot.header_in_ram->sector = sector;
    *slot.status_in_ram = kUnanswered;
  }
  bool succeeded(std::uint16_t index) const { return *slots_[index].status_in_ram == VIRTIO_BLK_S_OK; }

 private:
  static constexpr std::uint8_t kUnanswered = 0xff;
  struct Slot {
    std::uint64_t header, data, status, table;  // guest addresses
    virtio_blk_outhdr* header_in_ram;
    volatile std::uint8_t* status_in_ram;
  };
  std::uint32_t block_;
  std::vector<Slot> slots_;
};

}  // namespace bench
