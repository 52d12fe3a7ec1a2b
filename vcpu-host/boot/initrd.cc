#include "vcpu-host/boot/initrd.h"

#include <fmt/format.h>

#include <algorithm>

#include "vcpu-host/boot/image_file.h"
#include "vcpu-host/layout.h"

namespace vcpu_host {

using ipc::Result;

std::optional<AddressRange> place_initrd(std::uint64_t bytes, std::uint64_t top, AddressRange kernel) {
  constexpr std::uint64_t kPageMask = 4095;
  const AddressRange gaps[] = {{std::max(kernel.end, layout::kKernelMinimum), top},
                               {layout::kKernelMinimum, std::min(kernel.begin, top)}};
  for (const AddressRange& gap : gaps) {
    if (gap.end < gap.begin || bytes > gap.end - gap.begin) continue;
    const std::uint64_t begin = (gap.end - bytes) & ~kPageMask;
    if (begin >= gap.begin) return AddressRange{begin, begin + bytes};
  }
  return std::nullopt;
}

Result<AddressRange> load_initrd(const ipc::GuestMemory& memory, const BootRequest& request, std::uint64_t top,
                                 AddressRange kernel) {
  if (request.initrd == nullptr) return AddressRange{0, 0};
  const ImageFile file = TRY(ImageFile::open(*request.initrd, "initial RAM disk"));
  const auto place = place_initrd(file.size(), top, kernel);
  if (!place) {
    const std::string size = size_text(file.size());
    if (file.size() > request.ram_bytes)
      return ipc::failure(
          ENOSPC, fmt::format("initial RAM disk of {} does not fit in {} of RAM", size, size_text(request.ram_bytes)));
    return ipc::failure(
        ENOSPC, fmt::format("initial RAM disk of {} does not fit beside the kernel of {} in the {} of RAM below {:#x}",
                            size, size_text(kernel.end - kernel.begin), size_text(request.ram_bytes), top));
  }
  const auto buffer = memory.slice({place->begin}, file.size());
  if (!buffer) return file.error(EINVAL, "guest RAM is not where the machine's layout has it");
  TRY(file.read(0, *buffer));
  return *place;
}

}  // namespace vcpu_host
