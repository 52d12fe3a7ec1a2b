#include "ipc/mapping.h"

#include <sys/mman.h>

namespace ipc {
namespace {

constexpr std::size_t kHugePageBytes = 2 << 20;

}  // namespace

Mapping::~Mapping() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

Result<Mapping> Mapping::of(const UniqueFd& file, std::uint64_t offset, std::size_t length, Access access) {
  const int protection = access == Access::ReadWrite ? PROT_READ | PROT_WRITE : PROT_READ;
  void* address =
      ::mmap(nullptr, length, protection, MAP_SHARED | MAP_NORESERVE, file.get(), static_cast<off_t>(offset));
  if (address == MAP_FAILED) return system_failure(fmt::format("map {} bytes of shared memory", length));
  ::madvise(address, length, MADV_DONTDUMP);  // a tenant's memory stays out of core files
  // Fewer TLB misses where the host lets shared memory have huge pages; elsewhere it changes nothing.
  if (length >= kHugePageBytes) ::madvise(address, length, MADV_HUGEPAGE);
  return Mapping(std::span(static_cast<std::byte*>(address), length));
}

}  // namespace ipc
