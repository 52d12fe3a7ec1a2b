#include "backends/virtio/memory_table.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <limits>

namespace virtio {
namespace {

using ipc::vhost_user::MemoryRegion;

constexpr unsigned kMostTimes = 64;  // more pairs of queues than a device here has

bool wraps(std::uint64_t start, std::uint64_t size) {
  return size - 1 > std::numeric_limits<std::uint64_t>::max() - start;
}

bool overlap(std::uint64_t a, std::uint64_t a_size, std::uint64_t b, std::uint64_t b_size) {
  return a < b ? b - a < a_size : a - b < b_size;
}

}  // namespace

ipc::Result<> check_sealed(const ipc::UniqueFd& file) {
  const int seals = ::fcntl(file.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
    return ipc::failure(EPERM, "memory region that is no memfd sealed against shrinking (F_SEAL_SHRINK)");
  return {};
}

ipc::Result<> MemoryTable::add(const MemoryRegion& region, const ipc::UniqueFd& file) {
  const auto invalid = [&](std::string_view why) {
    return ipc::failure(
        EINVAL, fmt::format("memory region of {:#x} bytes at {:#x}: {}", region.size, region.guest_address, why));
  };
  if (regions_.size() == ipc::vhost_user::kMaxMemoryRegions)
    return ipc::failure(ENOSPC, fmt::format("memory table: more than {} regions", regions_.size()));
  if (region.size == 0) return invalid("empty");
  if (wraps(region.guest_address, region.size) || wraps(region.user_address, region.size)) return invalid("wraps");
  const bool taken = std::ranges::any_of(regions_, [&](const MemoryRegion& other) {
    return overlap(region.user_address, region.size, other.user_address, other.size);
  });
  if (taken) return invalid("overlaps another in the front end's address space");

  if (sealing_ == Sealing::Required) TRY(check_sealed(file));
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return ipc::system_failure("stat a memory region");
  const auto file_size = static_cast<std::uint64_t>(status.st_size);
  if (region.mmap_offset > file_size || region.size > file_size - region.mmap_offset) return invalid("leaves its file");

  // Mappings begin and end at the file's own page size, which is larger for huge pages.
  const auto page = static_cast<std::uint64_t>(std::max<blksize_t>(status.st_blksize, 4096));
  const std::uint64_t skip = region.mmap_offset % page;
  const std::uint64_t length = (skip + region.size + page - 1) / page * page;
  auto mapping = TRY(ipc::Mapping::of(file, region.mmap_offset - skip, length, ipc::Access::ReadWrite));
  if (!memory_->add_region(ipc::GuestAddress{region.guest_address}, region.size, std::move(mapping), skip))
    return invalid("overlaps another");
  regions_.push_back({region, status.st_dev, status.st_ino});
  return {};
}

const MemoryTable::Region* MemoryTable::find(const MemoryRegion& region) const {
  const auto found = std::ranges::find_if(regions_, [&](const MemoryRegion& known) {
    return known.guest_address == region.guest_address && known.user_address == region.user_address &&
           known.size == region.size;
  });
  return found == regions_.end() ? nullptr : &*found;
}

bool MemoryTable::add_again(const MemoryRegion& region, const ipc::UniqueFd& file) {
  const Region* known = find(region);
  struct stat status{};
  if (known == nullptr || known->mmap_offset != region.mmap_offset || ::fstat(file.get(), &status) != 0) return false;
  if (known->device != status.st_dev || known->inode != status.st_ino || known->times == kMostTimes) return false;
  ++regions_[static_cast<std::size_t>(known - regions_.data())].times;
  return true;
}

bool MemoryTable::last(const MemoryRegion& region) const {
  const Region* known = find(region);
  return known == nullptr || known->times == 1;
}

ipc::Result<> MemoryTable::remove(const MemoryRegion& region) {
  const Region* known = find(region);
  if (known == nullptr) return ipc::failure(ENOENT, "memory table: no such region");
  const auto found = regions_.begin() + (known - regions_.data());
  if (--found->times > 0) return {};
  memory_->remove_region(ipc::GuestAddress{region.guest_address}, region.size);
  regions_.erase(found);
  return {};
}

std::vector<GuestRange> MemoryTable::ranges() const {
  std::vector<GuestRange> ranges;
  for (const MemoryRegion& region : regions_) ranges.push_back({region.guest_address, region.size});
  return ranges;
}

std::optional<ipc::GuestAddress> MemoryTable::to_guest(std::uint64_t user_address) const {
  for (const MemoryRegion& region : regions_) {
    if (user_address < region.user_address) continue;
    const std::uint64_t offset = user_address - region.user_address;
    if (offset < region.size) return ipc::GuestAddress{region.guest_address + offset};  // add() refused what wraps
  }
  return std::nullopt;
}

}  // namespace virtio
