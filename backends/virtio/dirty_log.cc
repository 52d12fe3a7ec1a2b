#include "backends/virtio/dirty_log.h"

#include <sys/stat.h>

#include <algorithm>
#include <atomic>

namespace virtio {
namespace {

constexpr std::uint64_t kPage = 4096;  // VHOST_LOG_PAGE, and what mappings are aligned to

std::uint64_t last_page(const GuestRange& range) {
  return range.start / kPage + (range.start % kPage + (range.bytes - 1)) / kPage;
}

}  // namespace

ipc::Result<DirtyLog> DirtyLog::map(const ipc::UniqueFd& file, std::uint64_t offset, std::uint64_t size,
                                    Sealing sealing) {
  if (sealing == Sealing::Required) TRY(check_sealed(file));
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return ipc::system_failure("stat a dirty log");
  // CVE-2020-10722: both numbers are the peer's.
  const auto file_size = static_cast<std::uint64_t>(status.st_size);
  if (size == 0 || offset > file_size || size > file_size - offset)
    return ipc::failure(EINVAL, fmt::format("dirty log of {} bytes at {} of {}", size, offset, file_size));
  const std::uint64_t skip = offset % kPage;
  DirtyLog log;
  log.mapping_ = TRY(ipc::Mapping::of(file, offset - skip, skip + size, ipc::Access::ReadWrite));
  const auto bytes = log.mapping_.bytes().subspan(skip, size);
  // SAFETY: any byte is a std::uint8_t; only touched by std::atomic_ref.
  log.bitmap_ = std::span(reinterpret_cast<std::uint8_t*>(bytes.data()), bytes.size());
  return log;
}

bool DirtyLog::covers(const GuestRange& range) const {
  return last_page(range) / 8 < bitmap_.size();
}

void DirtyLog::mark(const GuestRange& range) const {
  const std::uint64_t end = std::min<std::uint64_t>(last_page(range) + 1, bitmap_.size() * 8);
  for (std::uint64_t page = range.start / kPage; page < end; ++page)
    std::atomic_ref(bitmap_[page / 8]).fetch_or(static_cast<std::uint8_t>(1u << page % 8), std::memory_order_release);
}

}  // namespace virtio
