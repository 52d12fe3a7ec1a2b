#include "vcpu-host/boot/boot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "vcpu-host/boot/acpi.h"
#include "vcpu-host/boot/bzimage.h"
#include "vcpu-host/boot/elf.h"
#include "vcpu-host/boot/image_file.h"
#include "vcpu-host/boot/memory_map.h"
#include "vcpu-host/layout.h"

namespace vcpu_host {
namespace {

using ipc::Result;

constexpr std::size_t kHeadBytes = 1024;  // holds a bzImage's whole setup header

// What people try to boot by mistake, so that the error can name it.
struct Format {
  std::size_t offset;
  std::string_view magic;
  std::string_view description;
};
constexpr Format kForeignFormats[] = {
    {0, {"\x1f\x8b", 2}, "gzip-compressed data (a kernel of another architecture, or to be unpacked first)"},
    {0,
     {"\xfd"
      "7zXZ\0",
      6},
     "xz-compressed data"},
    {0, {"\x28\xb5\x2f\xfd", 4}, "zstd-compressed data"},
    {0, {"\x02\x21\x4c\x18", 4}, "LZ4-compressed data"},
    {0, {"BZh", 3}, "bzip2-compressed data"},
    {0, {"\x5d\0\0", 3}, "LZMA-compressed data"},
    {0, {"QFI\xfb", 4}, "a qcow2 disk image"},
    {0, {"070701", 6}, "a cpio archive (an initial RAM disk?)"},
    {0, {"!<arch>", 7}, "an archive (a Debian package?)"},
    {0, {"#!", 2}, "a script"},
    {0x38, {"ARM\x64", 4}, "a kernel for arm64"},
    {0x38, {"RSC\x05", 4}, "a kernel for RISC-V"},
    {4, {"zimg", 4}, "a compressed EFI kernel of another architecture"},
    {0, {"MZ", 2}, "an EFI program without a Linux boot header"},
    {0x1fe, {"\x55\xaa", 2}, "a boot sector or disk image"},
};

std::unexpected<ipc::Error> unknown_format(const ImageFile& kernel, std::span<const std::byte> head) {
  constexpr std::string_view kNeeded = "a bzImage for x86 or an ELF image with the PVH note is needed";
  const auto known = std::ranges::find_if(kForeignFormats, [&](const Format& format) {
    const auto magic = std::as_bytes(std::span(format.magic));
    return format.offset < head.size() && magic.size() <= head.size() - format.offset &&
           std::ranges::equal(head.subspan(format.offset, magic.size()), magic);
  });
  if (known != std::end(kForeignFormats))
    return kernel.error(ENOEXEC, fmt::format("{}; {}", known->description, kNeeded));
  if (head.size() < kHeadBytes)
    return kernel.error(ENOEXEC, fmt::format("truncated, or no kernel: {} bytes; {}", head.size(), kNeeded));
  std::string start;
  for (const std::byte byte : head.first(8)) start += fmt::format(" {:02x}", std::to_integer<unsigned>(byte));
  return kernel.error(ENOEXEC, fmt::format("unknown format, starts with{}; {}", start, kNeeded));
}

Result<> check(const ipc::GuestMemory& memory, const BootRequest& request) {
  if (request.ram_bytes < kMinRamBytes || request.ram_bytes % layout::kMib != 0)
    return ipc::failure(EINVAL, fmt::format("RAM of {} bytes: whole MiB are possible, {} or more", request.ram_bytes,
                                            kMinRamBytes / layout::kMib));
  for (const layout::RamRange& ram : {layout::low_ram(request.ram_bytes), layout::high_ram(request.ram_bytes)}) {
    if (ram.bytes > 0 && !memory.slice(ram.base, ram.bytes))
      return ipc::failure(EINVAL, fmt::format("guest RAM has no {} bytes at {:#x}", ram.bytes, ram.base.value));
  }
  if (request.cpus == 0 || request.cpus > kMaxCpus)
    return ipc::failure(EINVAL, fmt::format("{} CPUs: 1 to {} are possible", request.cpus, kMaxCpus));
  if (request.cmdline.size() >= layout::kMaxCmdlineBytes)
    return ipc::failure(E2BIG, fmt::format("command line of {} bytes: at most {} are possible", request.cmdline.size(),
                                           layout::kMaxCmdlineBytes - 1));
  if (request.cmdline.find('\0') != std::string_view::npos)
    return ipc::failure(EINVAL, "command line: it has a zero byte in it");
  return {};
}

Result<> write_cmdline(const ipc::GuestMemory& memory, std::string_view cmdline) {
  std::array<char, layout::kMaxCmdlineBytes> text = {};
  std::ranges::copy(cmdline, text.begin());
  return write_guest(memory, layout::kCmdline, text);
}

}  // namespace

Result<EntryPoint> load_guest(const ipc::GuestMemory& memory, const BootRequest& request) {
  TRY(check(memory, request));
  const ImageFile kernel = TRY(ImageFile::open(request.kernel, "kernel"));
  std::vector<std::byte> bytes(std::min<std::uint64_t>(kHeadBytes, kernel.size()));
  TRY(kernel.read(0, std::span(bytes)));
  const std::span<const std::byte> head = bytes;

  const EntryPoint entry = TRY(is_bzimage(head) ? load_bzimage(memory, kernel, head, request)
                               : is_elf(head)   ? load_elf(memory, kernel, head, request)
                                                : Result<EntryPoint>(unknown_format(kernel, head)));
  TRY(write_cmdline(memory, request.cmdline));
  TRY(write_acpi_tables(memory, request.cpus));
  return entry;
}

}  // namespace vcpu_host
