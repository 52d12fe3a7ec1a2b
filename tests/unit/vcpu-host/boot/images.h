// Kernel images as their formats describe them, built byte by byte, each field open to be spoilt; and
// the RAM to load them into. Asserts nothing.
#pragma once

#include <asm/bootparam.h>
#include <elf.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "ipc/guest_memory.h"
#include "ipc/mapping.h"
#include "ipc/unique_fd.h"
#include "vcpu-host/boot/boot.h"
#include "vcpu-host/layout.h"

namespace boot_test {

using vcpu_host::layout::kMib;

inline ipc::UniqueFd file_of(std::span<const std::byte> bytes) {
  ipc::UniqueFd fd(::memfd_create("image", MFD_CLOEXEC));
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::write(fd.get(), bytes.data() + done, bytes.size() - done);
    if (count <= 0) break;
    done += static_cast<std::size_t>(count);
  }
  return fd;
}

inline ipc::UniqueFd file_of(std::string_view text) {
  return file_of(std::as_bytes(std::span(text)));
}

// A file of zeros that takes no memory.
inline ipc::UniqueFd hole_of(std::uint64_t bytes) {
  ipc::UniqueFd fd(::memfd_create("hole", MFD_CLOEXEC));
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) return ipc::UniqueFd();
  return fd;
}

// Guest RAM as the machine's layout splits it.
class Ram {
 public:
  explicit Ram(std::uint64_t bytes) : bytes_(bytes) {
    const ipc::UniqueFd file = hole_of(bytes);
    for (const auto& range : {vcpu_host::layout::low_ram(bytes), vcpu_host::layout::high_ram(bytes)}) {
      if (range.bytes == 0) continue;
      auto mapping = ipc::Mapping::of(file, range.file_offset, range.bytes, ipc::Access::ReadWrite);
      if (mapping) memory_.add_region(range.base, range.bytes, std::move(*mapping));
    }
  }

  std::uint64_t bytes() const { return bytes_; }
  const ipc::GuestMemory& memory() const { return memory_; }

  std::vector<std::byte> read(std::uint64_t address, std::size_t length) const {
    std::vector<std::byte> out(length);
    const auto buffer = memory_.slice({address}, length);
    if (!buffer) return {};
    buffer->copy_to(out);
    return out;
  }

  template <class T>
  T get(std::uint64_t address) const {
    T object = {};
    if (const auto bytes = read(address, sizeof object); !bytes.empty())
      std::memcpy(&object, bytes.data(), sizeof object);
    return object;
  }

  ipc::Result<vcpu_host::EntryPoint> load(const ipc::UniqueFd& kernel, const ipc::UniqueFd* initrd = nullptr,
                                          std::string_view cmdline = "console=ttyS0", std::uint32_t cpus = 1) const {
    return vcpu_host::load_guest(
        memory_, {.ram_bytes = bytes_, .cpus = cpus, .kernel = kernel, .initrd = initrd, .cmdline = cmdline});
  }

 private:
  std::uint64_t bytes_;
  ipc::GuestMemory memory_;
};

// The smallest bzImage like Debian's: protocol 2.15, 64-bit entry, relocatable, at 16 MiB.
struct BzImage {
  setup_header header = {};
  std::vector<std::byte> code = std::vector<std::byte>(8192, std::byte{0x90});
  std::optional<std::uint32_t> syssize;  // in paragraphs of 16 bytes; by itself that of the code
  std::uint8_t header_end = 0x6a;        // relative to 0x202

  BzImage() {
    header.setup_sects = 2;
    header.boot_flag = 0xaa55;
    header.header = 0x53726448;
    header.version = 0x020f;
    header.loadflags = LOADED_HIGH;
    header.code32_start = 0x100000;
    header.initrd_addr_max = 0x7fffffff;
    header.kernel_alignment = 0x200000;
    header.relocatable_kernel = 1;
    header.min_alignment = 21;
    header.xloadflags = XLF_KERNEL_64;
    header.cmdline_size = 2047;
    header.pref_address = 16 * kMib;
    header.init_size = 4 * kMib;
  }

  std::vector<std::byte> bytes() const {
    setup_header written = header;
    written.syssize = syssize.value_or(static_cast<std::uint32_t>((code.size() + 15) / 16));
    written.jump = static_cast<std::uint16_t>(0xeb | header_end << 8);
    const std::size_t sectors = header.setup_sects == 0 ? 4 : header.setup_sects;
    std::vector<std::byte> out((1 + sectors) * 512, std::byte{0xcc});
    std::memset(out.data(), 0, 0x1f1);
    std::memcpy(out.data() + 0x1f1, &written, sizeof written);
    out.insert(out.end(), code.begin(), code.end());
    return out;
  }
  ipc::UniqueFd file() const { return file_of(bytes()); }
};

// The smallest vmlinux: one segment at 16 MiB whose first bytes are the entry, and the PVH note.
struct Vmlinux {
  Elf64_Ehdr header = {};
  Elf64_Phdr load = {};
  Elf64_Phdr note_header = {};
  std::vector<Elf64_Phdr> more;
  Elf64_Nhdr note = {.n_namesz = 4, .n_descsz = 8, .n_type = 18};
  std::string_view owner{"Xen\0", 4};
  std::uint64_t entry = 16 * kMib;
  std::vector<std::byte> code = std::vector<std::byte>(4096, std::byte{0x90});

  static constexpr std::size_t kNoteOffset = 0x400;
  static constexpr std::size_t kCodeOffset = 0x1000;

  Vmlinux() {
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_EXEC;
    header.e_machine = EM_X86_64;
    header.e_version = EV_CURRENT;
    header.e_ehsize = sizeof header;
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = 2;
    load = {.p_type = PT_LOAD,
            .p_flags = PF_R | PF_X,
            .p_offset = kCodeOffset,
            .p_vaddr = 0xffffffff81000000,
            .p_paddr = 16 * kMib,
            .p_filesz = code.size(),
            .p_memsz = 1 * kMib,
            .p_align = 0x200000};
    note_header = {.p_type = PT_NOTE,
                   .p_flags = PF_R,
                   .p_offset = kNoteOffset,
                   .p_vaddr = 0,
                   .p_paddr = 0,
                   .p_filesz = sizeof note + 4 + 8,
                   .p_memsz = sizeof note + 4 + 8,
                   .p_align = 4};
  }

  std::vector<std::byte> bytes() const {
    std::vector<std::byte> out(kCodeOffset);
    const auto put = [&](std::size_t offset, const void* from, std::size_t size) {
      std::memcpy(out.data() + offset, from, size);
    };
    put(0, &header, sizeof header);
    put(sizeof header, &load, sizeof load);
    put(sizeof header + sizeof load, &note_header, sizeof note_header);
    for (std::size_t i = 0; i < more.size(); ++i)
      put(sizeof header + (2 + i) * sizeof(Elf64_Phdr), &more[i], sizeof(Elf64_Phdr));
    put(kNoteOffset, &note, sizeof note);
    put(kNoteOffset + sizeof note, owner.data(), owner.size());
    put(kNoteOffset + sizeof note + 4, &entry, sizeof entry);
    out.insert(out.end(), code.begin(), code.end());
    return out;
  }
  ipc::UniqueFd file() const { return file_of(bytes()); }
};

}  // namespace boot_test
