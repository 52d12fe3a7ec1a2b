// The guest's memory as the front end describes it: SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG.
#pragma once

#include <span>
#include <vector>

#include "ipc/error.h"
#include "ipc/guest_memory.h"
#include "ipc/unique_fd.h"
#include "ipc/vhost_user.h"

namespace virtio {

class MemoryTable {
 public:
  // Maps `region` of `file` (borrowed). The file must be a memfd sealed against shrinking: a front end
  // that could cut it short could kill this process. EPERM if it is not; EINVAL for a range that is
  // empty, wraps, leaves the file or overlaps another region; ENOSPC beyond kMaxMemoryRegions.
  ipc::Result<> add(const ipc::vhost_user::MemoryRegion& region, const ipc::UniqueFd& file);
  // Unmaps the region with these guest and user addresses and this size. ENOENT if there is none.
  ipc::Result<> remove(const ipc::vhost_user::MemoryRegion& region);

  // Where `user_address` of the front end lies in guest memory; nothing if in no region.
  std::optional<ipc::GuestAddress> to_guest(std::uint64_t user_address) const;

  const ipc::GuestMemory& memory() const { return *memory_; }

 private:
  std::vector<ipc::vhost_user::MemoryRegion> regions_;
  // On the heap, so that queues can keep pointing to it when a table moves into its place.
  std::unique_ptr<ipc::GuestMemory> memory_ = std::make_unique<ipc::GuestMemory>();
};

}  // namespace virtio
