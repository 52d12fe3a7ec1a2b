#include "vcpu-host/boot/bzimage.h"

#include <asm/bootparam.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "vcpu-host/boot/cpu_state.h"
#include "vcpu-host/boot/initrd.h"
#include "vcpu-host/boot/memory_map.h"
#include "vcpu-host/layout.h"

namespace vcpu_host {
namespace {

using ipc::Result;

constexpr std::size_t kHeaderOffset = 0x1f1;
constexpr std::size_t kSectorBytes = 512;
constexpr std::uint16_t kBootFlag = 0xaa55;
constexpr std::uint32_t kHeaderMagic = 0x53726448;  // "HdrS"
constexpr std::uint64_t kEntry64 = 0x200;           // of the 64-bit entry, from the start of the kernel's code
constexpr std::uint8_t kUnassignedLoader = 0xff;
constexpr std::uint16_t kNormalVideo = 0xffff;
constexpr std::uint16_t kHeapEnd = 0xfe00;

static_assert(offsetof(boot_params, hdr) == kHeaderOffset);
static_assert(sizeof(boot_params) == 4096);
static_assert(offsetof(setup_header, header) == 0x202 - kHeaderOffset);

// A bzImage whose numbers were checked against the file and fit each other.
struct BzImage {
  setup_header header;  // fields that its version does not have are 0
  std::uint64_t code_offset;
  std::uint64_t code_bytes;   // at least 1, or enough for the 64-bit entry
  std::uint64_t needs_bytes;  // from its load address on, at least code_bytes
  EntryPoint::Mode mode;
};

// The fields of protocols newer than the image's own are not its to set: what is there may be code.
setup_header fields_of_version(const setup_header& raw) {
  setup_header header = raw;
  if (raw.version < 0x020a) {
    header.min_alignment = 0;
    header.pref_address = layout::kKernelMinimum;  // where each of them loads
    header.init_size = 0;
  }
  if (raw.version < 0x020c) header.xloadflags = 0;
  return header;
}

// "The header ends at 0x202 + the byte at 0x201", which is a short jump over it.
Result<setup_header> read_header(const ImageFile& kernel, std::span<const std::byte> head) {
  constexpr std::size_t kMinimumEnd = kHeaderOffset + offsetof(setup_header, hardware_subarch);  // as of 2.06
  const std::size_t end = 0x202 + std::to_integer<std::size_t>(head[0x201]);
  if (end < kMinimumEnd || end > head.size())
    return kernel.error(ENOEXEC,
                        fmt::format("damaged bzImage: its setup header ends at {:#x}, outside of [{:#x}, {:#x}]", end,
                                    kMinimumEnd, head.size()));
  setup_header header = {};
  std::memcpy(&header, head.data() + kHeaderOffset, std::min(sizeof header, end - kHeaderOffset));
  if (const unsigned version = header.version; version < 0x0206)
    return kernel.error(ENOEXEC, fmt::format("bzImage of boot protocol {}.{:02}; 2.06 or newer is needed", version >> 8,
                                             version & 0xff));
  if ((header.loadflags & LOADED_HIGH) == 0)
    return kernel.error(ENOEXEC, "a zImage, which loads below 1 MiB; a bzImage is needed");
  if (header.relocatable_kernel != 0 && !std::has_single_bit(std::uint32_t{header.kernel_alignment}))
    return kernel.error(ENOEXEC, fmt::format("damaged bzImage: its alignment {:#x} is not a power of two",
                                             std::uint32_t{header.kernel_alignment}));
  return fields_of_version(header);
}

Result<BzImage> parse(const ImageFile& kernel, std::span<const std::byte> head) {
  const setup_header header = TRY(read_header(kernel, head));
  const std::uint64_t setup_sectors = header.setup_sects == 0 ? 4 : header.setup_sects;
  const std::uint64_t code_offset = (1 + setup_sectors) * kSectorBytes;
  const std::uint64_t announced = std::uint64_t{header.syssize} * 16;
  if (announced == 0) return kernel.error(ENOEXEC, "damaged bzImage: its header announces no code");
  // `syssize` counts whole paragraphs; the file may end within the last one.
  const std::uint64_t smallest = code_offset + announced - 15;
  if (kernel.size() < smallest)
    return kernel.error(
        ENOEXEC, fmt::format("truncated: its header announces {} bytes, the file has {}", smallest, kernel.size()));
  const std::uint64_t code_bytes = std::min(announced, kernel.size() - code_offset);
  const bool long_mode = (header.xloadflags & XLF_KERNEL_64) != 0;
  if (long_mode && code_bytes <= kEntry64)
    return kernel.error(ENOEXEC, "damaged bzImage: its 64-bit entry lies behind its end");
  return BzImage{.header = header,
                 .code_offset = code_offset,
                 .code_bytes = code_bytes,
                 .needs_bytes = std::max<std::uint64_t>(code_bytes, header.init_size),
                 .mode = long_mode ? EntryPoint::Mode::Long64 : EntryPoint::Mode::Protected32};
}

// Where the kernel prefers to be (2.10 and newer say so), or if it is relocatable where there is room.
Result<AddressRange> place(const ImageFile& kernel, const BzImage& image, std::uint64_t ram_bytes) {
  const std::uint64_t low_end = layout::low_ram(ram_bytes).bytes;
  const bool relocatable = image.header.relocatable_kernel != 0;
  // A relocated kernel moves itself up to its alignment and needs `init_size` from there.
  const std::uint64_t mask = relocatable ? std::uint64_t{image.header.kernel_alignment} - 1 : 0;
  const std::uint64_t preferred = image.header.pref_address;
  const auto fit = [&](std::uint64_t wish) -> std::optional<AddressRange> {
    if (wish < layout::kKernelMinimum || wish > low_end) return std::nullopt;
    const std::uint64_t begin = (wish + mask) & ~mask;  // no overflow: both are below 4 GiB
    if (begin > low_end || image.needs_bytes > low_end - begin) return std::nullopt;
    return AddressRange{begin, begin + image.needs_bytes};
  };
  if (const auto there = fit(preferred)) return *there;
  if (const auto lowest = fit(layout::kKernelMinimum); lowest && relocatable) return *lowest;
  if (preferred < layout::kKernelMinimum)
    return kernel.error(ENOEXEC, fmt::format("wants to be loaded at {:#x}, below 1 MiB", preferred));
  return kernel.error(
      ENOSPC, fmt::format("needs {} of RAM from address {:#x} on; the machine has {}", size_text(image.needs_bytes),
                          relocatable ? (layout::kKernelMinimum + mask) & ~mask : preferred, size_text(ram_bytes)));
}

boot_params zero_page(const BzImage& image, const BootRequest& request, AddressRange code, AddressRange initrd) {
  boot_params page = {};
  page.hdr = image.header;
  page.hdr.type_of_loader = kUnassignedLoader;
  page.hdr.loadflags = static_cast<std::uint8_t>((image.header.loadflags & ~KEEP_SEGMENTS) | CAN_USE_HEAP);
  page.hdr.heap_end_ptr = kHeapEnd;
  page.hdr.vid_mode = kNormalVideo;
  page.hdr.code32_start = static_cast<std::uint32_t>(code.begin);
  page.hdr.cmd_line_ptr = static_cast<std::uint32_t>(layout::kCmdline);
  page.hdr.ramdisk_image = static_cast<std::uint32_t>(initrd.begin);
  page.hdr.ramdisk_size = static_cast<std::uint32_t>(initrd.end - initrd.begin);
  page.hdr.setup_data = 0;
  if (image.header.version >= 0x020e) page.acpi_rsdp_addr = layout::kAcpiTables;
  for (const MemoryMapEntry& entry : memory_map(request.ram_bytes))
    page.e820_table[page.e820_entries++] = {entry.base, entry.bytes, static_cast<std::uint32_t>(entry.type)};
  return page;
}

}  // namespace

bool is_bzimage(std::span<const std::byte> head) {
  setup_header header = {};
  if (head.size() < kHeaderOffset + sizeof header) return false;
  std::memcpy(&header, head.data() + kHeaderOffset, sizeof header);
  return header.boot_flag == kBootFlag && header.header == kHeaderMagic;
}

Result<EntryPoint> load_bzimage(const ipc::GuestMemory& memory, const ImageFile& kernel,
                                std::span<const std::byte> head, const BootRequest& request) {
  const BzImage image = TRY(parse(kernel, head));
  if (const std::uint32_t limit = image.header.cmdline_size; request.cmdline.size() > limit)
    return ipc::failure(E2BIG, fmt::format("command line of {} bytes is longer than the {} that this kernel takes",
                                           request.cmdline.size(), limit));
  const AddressRange code = TRY(place(kernel, image, request.ram_bytes));
  const auto buffer = memory.slice({code.begin}, image.code_bytes);
  if (!buffer) return kernel.error(EINVAL, "guest RAM is not where the machine's layout has it");
  TRY(kernel.read(image.code_offset, *buffer));

  const std::uint64_t initrd_top =
      std::min(layout::low_ram(request.ram_bytes).bytes, std::uint64_t{image.header.initrd_addr_max} + 1);
  const AddressRange initrd = TRY(load_initrd(memory, request, initrd_top, code));
  TRY(write_guest(memory, layout::kZeroPage, zero_page(image, request, code, initrd)));

  EntryPoint entry =
      TRY(prepare_cpu(memory, image.mode, code.begin + (image.mode == EntryPoint::Mode::Long64 ? kEntry64 : 0)));
  entry.rsi = layout::kZeroPage;
  return entry;
}

}  // namespace vcpu_host
