// How the processes behind disks and cards are started: what each is given, and what it may use.
#pragma once

#include "monitor/device.h"
#include "monitor/resources.h"

namespace monitor {

// Virtio 1.2, 5.1.2: two for each pair of queues, and a control queue.
std::uint16_t rings_of(const NetConfiguration& card);

// A child that seals itself compiles its filters through a memfd, for which RLIMIT_FSIZE holds too.
inline constexpr std::uint64_t kScratchBytes = 64 * 1024;

// For Device::Plan::find_back_end. `operators`: where they connect to this process, or none. All are borrowed.
ipc::Result<ipc::UniqueFd> start_disk(Device& device, const DiskConfiguration& disk, const Image& image,
                                      const ipc::UniqueFd* operators);
ipc::Result<ipc::UniqueFd> start_card(Device& device, const NetConfiguration& card, const ipc::UniqueFd* operators);

}  // namespace monitor
