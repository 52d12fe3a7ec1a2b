// The guest's memory as the front end describes it: SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG.
#pragma once

#include <span>
#include <vector>

#include "ipc/error.h"
#include "ipc/guest_memory.h"
#include "ipc/unique_fd.h"
#include "ipc/vhost_user.h"

namespace virtio {

struct GuestRange {
  std::uint64_t start;  // guest-physical
  std::uint64_t bytes;  // not 0
};

// Must a front end's memory be sealed against shrinking? One that can cut it short can kill this process.
enum class Sealing : std::uint8_t { Required, Optional };

// EPERM for a file that is no memfd sealed against shrinking.
ipc::Result<> check_sealed(const ipc::UniqueFd& file);

class MemoryTable {
 public:
  explicit MemoryTable(Sealing sealing = Sealing::Required) : sealing_(sealing) {}

  // Maps `region` of `file` (borrowed). Where sealing is required, the file must be a memfd sealed
  // against shrinking: EPERM if it is not; EINVAL for a range that is
  // empty, wraps, leaves the file or overlaps another region; ENOSPC beyond kMaxMemoryRegions.
  ipc::Result<> add(const ipc::vhost_user::MemoryRegion& region, const ipc::UniqueFd& file);
  // Whether `region` of `file` is one that there is already; if so, it has to be removed once more often. QEMU before
  // version 8.2 adds and removes every region once for each pair of a network card's queues.
  bool add_again(const ipc::vhost_user::MemoryRegion& region, const ipc::UniqueFd& file);
  // Whether remove() would unmap the region: false while it was added more often than removed.
  bool last(const ipc::vhost_user::MemoryRegion& region) const;
  // Unmaps the region with these guest and user addresses and this size, if it was removed as often as it was added.
  // ENOENT if there is none.
  ipc::Result<> remove(const ipc::vhost_user::MemoryRegion& region);

  // Where `user_address` of the front end lies in guest memory; nothing if in no region.
  std::optional<ipc::GuestAddress> to_guest(std::uint64_t user_address) const;

  std::vector<GuestRange> ranges() const;  // of guest memory

  const ipc::GuestMemory& memory() const { return *memory_; }

 private:
  struct Region : ipc::vhost_user::MemoryRegion {
    std::uint64_t device, inode;  // of its file
    unsigned times = 1;           // added
  };
  const Region* find(const ipc::vhost_user::MemoryRegion& region) const;

  Sealing sealing_;
  std::vector<Region> regions_;
  // On the heap, so that queues can keep pointing to it when a table moves into its place.
  std::unique_ptr<ipc::GuestMemory> memory_ = std::make_unique<ipc::GuestMemory>();
};

}  // namespace virtio
