// The PVH boot protocol: Xen's docs/misc/pvh.pandoc and hvm/start_info.h.
#include "tests/support/catch.h"
#include "tests/unit/vcpu-host/boot/images.h"

using namespace boot_test;
using vcpu_host::EntryPoint;
namespace layout = vcpu_host::layout;

SCENARIO("PVH: the kernel starts in protected mode with start_info in rbx", "[boot][pvh]") {
  GIVEN("a kernel with a segment at 16 MiB") {
    const Ram ram(64 * kMib);
    Vmlinux kernel;
    kernel.entry = 16 * kMib + 0x123;
    kernel.code[0x123] = std::byte{0xf4};
    const auto entry = ram.load(kernel.file());
    REQUIRE(entry);
    THEN("the CPU is as the protocol says") {
      CHECK(entry->mode == EntryPoint::Mode::Protected32);
      CHECK(entry->rip == 16 * kMib + 0x123);
      CHECK(ram.get<std::uint8_t>(entry->rip) == 0xf4);
      CHECK(entry->rbx == layout::kPvhStartInfo);
      CHECK((entry->cr0 & 0x80000001) == 1);
      CHECK(entry->cr4 == 0);
      CHECK(entry->code.base == 0);
      CHECK(entry->code.limit == 0xffffffff);
      CHECK(entry->code.wide);
      CHECK_FALSE(entry->code.long_mode);
      CHECK(entry->data.base == 0);
      CHECK(entry->data.limit == 0xffffffff);
      CHECK(entry->task.base == 0);
      CHECK(entry->task.limit == 0x67);
      CHECK(entry->task.type == 0xb);
    }
    THEN("start_info has no module") {
      CHECK(ram.get<std::uint32_t>(entry->rbx) == 0x336ec578);
      CHECK(ram.get<std::uint32_t>(entry->rbx + 4) == 1);
      CHECK(ram.get<std::uint32_t>(entry->rbx + 8) == 0);
      CHECK(ram.get<std::uint32_t>(entry->rbx + 12) == 0);
      CHECK(ram.get<std::uint64_t>(entry->rbx + 16) == 0);
      CHECK(ram.get<std::uint64_t>(entry->rbx + 32) == layout::kAcpiTables);
    }
  }
  GIVEN("an initial RAM disk, a command line and 3 GiB of RAM") {
    const Ram ram(3072 * kMib);
    const auto initrd = file_of("initrd");
    const auto entry = ram.load(Vmlinux().file(), &initrd, "quiet");
    REQUIRE(entry);
    THEN("the RAM disk is module 0, at the end of low RAM") {
      CHECK(ram.get<std::uint32_t>(entry->rbx + 12) == 1);
      const auto modules = ram.get<std::uint64_t>(entry->rbx + 16);
      CHECK(ram.get<std::uint64_t>(modules) == layout::kLowRamLimit - 4096);
      CHECK(ram.get<std::uint64_t>(modules + 8) == 6);
      CHECK(ram.get<std::uint64_t>(modules + 16) == 0);
      CHECK(ram.get<std::uint8_t>(layout::kLowRamLimit - 4096) == 'i');
    }
    THEN("the command line is there") {
      const auto text = ram.read(ram.get<std::uint64_t>(entry->rbx + 24), 6);
      REQUIRE(text.size() == 6);
      CHECK(std::memcmp(text.data(), "quiet", 6) == 0);
    }
    THEN("the memory map ends with the RAM above 4 GiB") {
      REQUIRE(ram.get<std::uint32_t>(entry->rbx + 48) == 6);
      const auto last = ram.get<std::uint64_t>(entry->rbx + 40) + 5 * 24;
      CHECK(ram.get<std::uint64_t>(last) == 4096 * kMib);
      CHECK(ram.get<std::uint64_t>(last + 8) == 1024 * kMib);
      CHECK(ram.get<std::uint32_t>(last + 16) == 1);
    }
  }
}

SCENARIO("PVH: notes are found as their padding and class demand", "[boot][pvh]") {
  Vmlinux kernel;
  const Ram ram(64 * kMib);
  GIVEN("an entry of 4 bytes, as 32-bit kernels write it") {
    kernel.note.n_descsz = 4;
    kernel.note_header.p_filesz -= 4;
    CHECK(ram.load(kernel.file()));
  }
  GIVEN("another note before it, in a segment aligned to 8") {
    auto bytes = kernel.bytes();
    const Elf64_Nhdr other = {.n_namesz = 4, .n_descsz = 1, .n_type = 3};
    // Padded to 8, the name at 12 takes 8 bytes and so does the descriptor at 20: the next note is at 28.
    std::vector<std::byte> notes(56);
    std::memcpy(notes.data(), &other, sizeof other);
    std::memcpy(notes.data() + 12, "GNU", 4);
    std::memcpy(notes.data() + 28, &kernel.note, sizeof kernel.note);
    std::memcpy(notes.data() + 40, "Xen", 4);
    std::memcpy(notes.data() + 48, &kernel.entry, sizeof kernel.entry);
    std::memcpy(bytes.data() + Vmlinux::kNoteOffset, notes.data(), notes.size());
    kernel.note_header.p_align = 8;
    kernel.note_header.p_filesz = notes.size();
    std::memcpy(bytes.data() + sizeof kernel.header + sizeof kernel.load, &kernel.note_header, sizeof(Elf64_Phdr));
    CHECK(ram.load(file_of(bytes)));
  }
}

SCENARIO("PVH: an ELF that is no kernel for this machine is refused by name", "[boot][pvh]") {
  Vmlinux kernel;
  const auto refusal = [&](std::string_view expected) {
    const auto entry = Ram(64 * kMib).load(kernel.file());
    REQUIRE_FALSE(entry);
    CHECK(entry.error().code == ENOEXEC);
    CHECK(entry.error().context == expected);
  };
  GIVEN("no PVH note") {
    kernel.note.n_type = 17;
    refusal(
        "kernel: ELF without the PVH note (XEN_ELFNOTE_PHYS32_ENTRY); a Linux with CONFIG_PVH=y or its bzImage is "
        "needed");
  }
  GIVEN("the note of another owner") {
    kernel.owner = std::string_view("GNU\0", 4);
    refusal(
        "kernel: ELF without the PVH note (XEN_ELFNOTE_PHYS32_ENTRY); a Linux with CONFIG_PVH=y or its bzImage is "
        "needed");
  }
  GIVEN("another machine") {
    kernel.header.e_machine = EM_AARCH64;
    refusal("kernel: an ELF for machine 183; one for x86-64 (62) is needed");
  }
  GIVEN("another byte order") {
    kernel.header.e_ident[EI_DATA] = ELFDATA2MSB;
    refusal("kernel: a big-endian ELF; one for x86 is needed");
  }
  GIVEN("a shared object") {
    kernel.header.e_type = ET_DYN;
    refusal("kernel: ELF file of type 3; a linked kernel (type 2, vmlinux) is needed");
  }
}

SCENARIO("PVH: a hostile ELF reaches nothing outside of RAM", "[boot][pvh][hostile]") {
  Vmlinux kernel;
  const auto code_of_refusal = [&](std::uint64_t ram_bytes = 64 * kMib) {
    const auto entry = Ram(ram_bytes).load(kernel.file());
    return entry ? 0 : entry.error().code;
  };
  GIVEN("program headers behind the end of the file") {
    kernel.header.e_phoff = 0x10000;
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("program headers whose offset overflows") {
    kernel.header.e_phoff = ~std::uint64_t{0} - 8;
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("the most program headers that can be written") {
    kernel.header.e_phnum = 0xffff;
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("none") {
    kernel.header.e_phnum = 0;
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("program headers of another size") {
    kernel.header.e_phentsize = 1;
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("a segment whose file offset overflows") {
    kernel.load.p_offset = ~std::uint64_t{0};
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("a segment of more bytes than the file has") {
    kernel.load.p_filesz = kernel.code.size() + 1;
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("a segment with more in the file than in memory") {
    kernel.load.p_memsz = kernel.load.p_filesz - 1;
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("a segment that ends one byte behind RAM") {
    kernel.load.p_memsz = 48 * kMib + 1;
    CHECK(code_of_refusal() == ENOSPC);
  }
  GIVEN("a segment that fills RAM to its end") {
    kernel.load.p_memsz = 48 * kMib;
    CHECK(code_of_refusal() == 0);
  }
  GIVEN("a segment whose end overflows") {
    kernel.load.p_memsz = ~std::uint64_t{0};
    CHECK(code_of_refusal() == ENOSPC);
  }
  GIVEN("a segment at the end of the address space") {
    kernel.load.p_paddr = ~std::uint64_t{0} - 4095;
    CHECK(code_of_refusal() == ENOSPC);
  }
  GIVEN("a segment in the RAM above 4 GiB, where a 32-bit entry cannot be") {
    kernel.load.p_paddr = 4096 * kMib;
    kernel.entry = 4096 * kMib;
    CHECK(code_of_refusal(3072 * kMib) == ENOSPC);
  }
  GIVEN("a segment that would overwrite our page tables") {
    kernel.load.p_paddr = layout::kPageTables;
    kernel.entry = layout::kPageTables;
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("two segments that overlap") {
    kernel.more = {kernel.load};
    kernel.more[0].p_paddr += kernel.load.p_memsz - 1;
    kernel.header.e_phnum = 3;
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("two segments side by side") {
    kernel.more = {kernel.load};
    kernel.more[0].p_paddr += kernel.load.p_memsz;
    kernel.header.e_phnum = 3;
    CHECK(code_of_refusal() == 0);
  }
  GIVEN("no segment to load") {
    kernel.load.p_type = PT_NULL;
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("an entry one byte behind the segment") {
    kernel.entry = kernel.load.p_paddr + kernel.load.p_memsz;
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("an entry above 4 GiB") {
    kernel.entry = (std::uint64_t{1} << 32) + 16 * kMib;
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("a note whose name is longer than the notes") {
    kernel.note.n_namesz = 0xffffffff;
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("a note whose descriptor is longer than the notes") {
    kernel.note.n_descsz = 0xffffffff;
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("a note with a descriptor too short for an address") {
    kernel.note.n_descsz = 3;
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("notes of a size that nobody needs") {
    kernel.code.resize(128 * 1024);
    kernel.note_header.p_offset = 0;
    kernel.note_header.p_filesz = 64 * 1024 + 1;
    CHECK(code_of_refusal() == ENOEXEC);
  }
  GIVEN("a file that ends within the ELF header") {
    auto bytes = kernel.bytes();
    for (const std::size_t size : {16, 17, 18, 20, 63}) {
      bytes.resize(size);
      const auto entry = Ram(64 * kMib).load(file_of(bytes));
      REQUIRE_FALSE(entry);
      CHECK(entry.error().code == ENOEXEC);
    }
  }
}

SCENARIO("PVH: an ELF of 32 bits loads as well", "[boot][pvh]") {
  const Vmlinux wide;
  Elf32_Ehdr header = {};
  std::memcpy(header.e_ident, wide.header.e_ident, EI_NIDENT);
  header.e_ident[EI_CLASS] = ELFCLASS32;
  header.e_type = ET_EXEC;
  header.e_machine = EM_386;
  header.e_phoff = sizeof header;
  header.e_phentsize = sizeof(Elf32_Phdr);
  header.e_phnum = 2;
  const Elf32_Phdr segments[] = {{.p_type = PT_LOAD,
                                  .p_offset = Vmlinux::kCodeOffset,
                                  .p_vaddr = 0,
                                  .p_paddr = 16 * kMib,
                                  .p_filesz = 4096,
                                  .p_memsz = 8192,
                                  .p_flags = 0,
                                  .p_align = 0},
                                 {.p_type = PT_NOTE,
                                  .p_offset = Vmlinux::kNoteOffset,
                                  .p_vaddr = 0,
                                  .p_paddr = 0,
                                  .p_filesz = 24,
                                  .p_memsz = 24,
                                  .p_flags = 0,
                                  .p_align = 4}};
  auto bytes = wide.bytes();
  std::memcpy(bytes.data(), &header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, segments, sizeof segments);
  const auto entry = Ram(64 * kMib).load(file_of(bytes));
  REQUIRE(entry);
  CHECK(entry->rip == 16 * kMib);
}
