// Linux's boot protocol: Documentation/arch/x86/boot.rst.
#include "tests/support/catch.h"
#include "tests/unit/vcpu-host/boot/images.h"

using namespace boot_test;
using vcpu_host::EntryPoint;
namespace layout = vcpu_host::layout;

namespace {

boot_params zero_page(const Ram& ram, const EntryPoint& entry) {
  return ram.get<boot_params>(entry.rsi);
}

}  // namespace

SCENARIO("bzImage: a kernel with the 64-bit entry starts 0x200 behind its beginning", "[boot][bzimage]") {
  GIVEN("a relocatable kernel that prefers 16 MiB") {
    const Ram ram(64 * kMib);
    BzImage kernel;
    kernel.code[0x200] = std::byte{0xf4};
    const auto entry = ram.load(kernel.file());
    REQUIRE(entry);
    THEN("it is entered in long mode there, with the zero page in rsi") {
      CHECK(entry->mode == EntryPoint::Mode::Long64);
      CHECK(entry->rip == 16 * kMib + 0x200);
      CHECK(ram.get<std::uint8_t>(entry->rip) == 0xf4);
      CHECK(entry->rsi == layout::kZeroPage);
      CHECK(entry->rbx == 0);
    }
    THEN("the CPU is in long mode by our tables, which map the low 4 GiB to themselves") {
      CHECK(entry->cr0 == 0x80000011);
      CHECK(entry->cr4 == 0x20);
      CHECK(entry->efer == 0x500);
      CHECK(entry->cr3 == layout::kPageTables);
      const auto pml4 = ram.get<std::uint64_t>(entry->cr3);
      CHECK((pml4 & 0xfff) == 3);
      for (std::uint64_t gib = 0; gib < 4; ++gib) {
        const auto pdpt = ram.get<std::uint64_t>((pml4 & ~0xfffull) + 8 * gib);
        CHECK((pdpt & 0xfff) == 3);
        for (const std::uint64_t page : {0, 1, 511})
          CHECK(ram.get<std::uint64_t>((pdpt & ~0xfffull) + 8 * page) == ((gib << 30) + (page << 21) | 0x83));
      }
      CHECK(ram.get<std::uint64_t>((pml4 & ~0xfffull) + 8 * 4) == 0);
    }
    THEN("CS is 0x10 and DS 0x18, as the descriptors in the GDT say") {
      CHECK(entry->code.selector == 0x10);
      CHECK(entry->code.long_mode);
      CHECK_FALSE(entry->code.wide);
      CHECK(entry->data.selector == 0x18);
      CHECK(entry->gdt_base == layout::kBootGdt);
      CHECK(entry->gdt_limit == 6 * 8 - 1);
      CHECK(ram.get<std::uint64_t>(entry->gdt_base + 0x10) == 0x00af9b000000ffff);
      CHECK(ram.get<std::uint64_t>(entry->gdt_base + 0x18) == 0x00cf93000000ffff);
      CHECK(ram.get<std::uint64_t>(entry->gdt_base + 0x20) == 0x00008b0000000067);
    }
  }
}

SCENARIO("bzImage: a kernel without the 64-bit entry starts at its beginning in protected mode", "[boot][bzimage]") {
  const Ram ram(64 * kMib);
  BzImage kernel;
  kernel.header.xloadflags = 0;
  const auto entry = ram.load(kernel.file());
  REQUIRE(entry);
  CHECK(entry->mode == EntryPoint::Mode::Protected32);
  CHECK(entry->rip == 16 * kMib);
  CHECK(entry->rsi == layout::kZeroPage);
  CHECK(entry->cr0 == 0x11);
  CHECK(entry->cr3 == 0);
  CHECK(entry->efer == 0);
  CHECK(ram.get<std::uint64_t>(entry->gdt_base + 0x10) == 0x00cf9b000000ffff);
}

SCENARIO("bzImage: the zero page tells the kernel all that it needs", "[boot][bzimage]") {
  GIVEN("6 GiB of RAM and an initial RAM disk") {
    const Ram ram(6144 * kMib);
    const BzImage kernel;
    const auto initrd = file_of("a RAM disk of some bytes");
    const auto entry = ram.load(kernel.file(), &initrd, "root=/dev/vda ro");
    REQUIRE(entry);
    const boot_params page = zero_page(ram, *entry);
    THEN("the setup header is the kernel's, with the loader's fields filled in") {
      CHECK(std::uint16_t{page.hdr.version} == 0x020f);
      CHECK(page.hdr.type_of_loader == 0xff);
      CHECK(page.hdr.loadflags == (LOADED_HIGH | CAN_USE_HEAP));
      CHECK(std::uint32_t{page.hdr.code32_start} == 16 * kMib);
      CHECK(std::uint64_t{page.hdr.setup_data} == 0);
      CHECK(page.sentinel == 0);
      CHECK(std::uint64_t{page.acpi_rsdp_addr} == layout::kAcpiTables);
    }
    THEN("it points to the command line, which ends with a zero") {
      REQUIRE(std::uint32_t{page.hdr.cmd_line_ptr} == layout::kCmdline);
      const auto text = ram.read(layout::kCmdline, 17);
      CHECK(std::memcmp(text.data(), "root=/dev/vda ro", 17) == 0);
    }
    THEN("the RAM disk is page-aligned at the end of low RAM") {
      CHECK(std::uint32_t{page.hdr.ramdisk_size} == 24);
      CHECK(std::uint32_t{page.hdr.ramdisk_image} == layout::kLowRamLimit - 4096);
      const auto text = ram.read(page.hdr.ramdisk_image, 24);
      CHECK(std::memcmp(text.data(), "a RAM disk of some bytes", 24) == 0);
    }
    THEN("the memory map has the RAM above 4 GiB, and reserves ECAM") {
      REQUIRE(page.e820_entries == 6);
      const auto is = [&](std::size_t index, std::uint64_t base, std::uint64_t end, std::uint32_t type) {
        const boot_e820_entry entry_at = page.e820_table[index];
        return entry_at.addr == base && entry_at.size == end - base && entry_at.type == type;
      };
      CHECK(is(0, 0, layout::kBootDataEnd, 1));
      CHECK(is(1, layout::kBootDataEnd, kMib, 2));
      CHECK(is(2, kMib, 2048 * kMib, 1));
      CHECK(is(3, layout::kEcam, layout::kEcam + layout::kEcamBytes, 2));
      CHECK(is(4, layout::kIdentityMap, layout::kTss + 3 * 4096, 2));
      CHECK(is(5, 4096 * kMib, 8192 * kMib, 1));
    }
  }
  GIVEN("a kernel of protocol 2.13, which does not know acpi_rsdp_addr") {
    const Ram ram(64 * kMib);
    BzImage kernel;
    kernel.header.version = 0x020d;
    const auto entry = ram.load(kernel.file());
    REQUIRE(entry);
    CHECK(std::uint64_t{zero_page(ram, *entry).acpi_rsdp_addr} == 0);
    CHECK(zero_page(ram, *entry).e820_entries == 5);
    CHECK(std::uint32_t{zero_page(ram, *entry).hdr.ramdisk_size} == 0);
  }
  GIVEN("an image whose header says that it ends before the fields of its last revision") {
    const Ram ram(64 * kMib);
    BzImage kernel;
    kernel.header_end = 0x62;  // up to and with init_size
    kernel.header.handover_offset = 0x12345678;
    const auto entry = ram.load(kernel.file());
    REQUIRE(entry);
    CHECK(std::uint32_t{zero_page(ram, *entry).hdr.handover_offset} == 0);
  }
}

SCENARIO("bzImage: the kernel goes where it prefers, or where it fits", "[boot][bzimage]") {
  BzImage kernel;
  GIVEN("16 MiB of RAM, which end where a relocatable kernel wants to begin") {
    const auto entry = Ram(16 * kMib).load(kernel.file());
    REQUIRE(entry);
    CHECK(entry->rip == 2 * kMib + 0x200);  // the lowest multiple of its alignment above 1 MiB
  }
  GIVEN("a preferred address that is not aligned") {
    kernel.header.pref_address = 16 * kMib + 4096;
    const auto entry = Ram(64 * kMib).load(kernel.file());
    REQUIRE(entry);
    CHECK(entry->rip == 18 * kMib + 0x200);
  }
  GIVEN("a preferred address near the end of the address space") {
    kernel.header.pref_address = ~std::uint64_t{0} - 4095;
    THEN("a relocatable kernel is moved") {
      const auto entry = Ram(64 * kMib).load(kernel.file());
      REQUIRE(entry);
      CHECK(entry->rip == 2 * kMib + 0x200);
    }
    THEN("another is refused") {
      kernel.header.relocatable_kernel = 0;
      const auto entry = Ram(64 * kMib).load(kernel.file());
      REQUIRE_FALSE(entry);
      CHECK(entry.error().code == ENOSPC);
    }
  }
  GIVEN("a kernel that is not relocatable") {
    kernel.header.relocatable_kernel = 0;
    kernel.header.kernel_alignment = 0;
    kernel.header.pref_address = 0x100000;
    const auto entry = Ram(16 * kMib).load(kernel.file());
    REQUIRE(entry);
    CHECK(entry->rip == 0x100200);
    THEN("it is refused where it would overwrite our tables") {
      kernel.header.pref_address = 0x9000;
      const auto refused = Ram(16 * kMib).load(kernel.file());
      REQUIRE_FALSE(refused);
      CHECK(refused.error().code == ENOEXEC);
      CHECK(refused.error().context == "kernel: wants to be loaded at 0x9000, below 1 MiB");
    }
  }
  GIVEN("a kernel of protocol 2.06, where what looks like a preferred address is code") {
    kernel.header.version = 0x0206;
    kernel.header.pref_address = 0x9000;
    kernel.header.init_size = 0xffffffff;
    kernel.header.relocatable_kernel = 0;
    const auto entry = Ram(16 * kMib).load(kernel.file());
    REQUIRE(entry);
    CHECK(entry->mode == EntryPoint::Mode::Protected32);
    CHECK(entry->rip == 0x100000);
  }
  GIVEN("a kernel that needs more memory than there is") {
    kernel.header.init_size = 63 * kMib;
    const auto entry = Ram(64 * kMib).load(kernel.file());
    REQUIRE_FALSE(entry);
    CHECK(entry.error().code == ENOSPC);
    CHECK(entry.error().context == "kernel: needs 63 MiB of RAM from address 0x200000 on; the machine has 64 MiB");
  }
  GIVEN("the largest init_size that can be written") {
    kernel.header.init_size = 0xffffffff;
    const auto entry = Ram(6144 * kMib).load(kernel.file());
    REQUIRE_FALSE(entry);
    CHECK(entry.error().code == ENOSPC);
  }
}

SCENARIO("bzImage: the initial RAM disk goes as high as the kernel allows, beside the kernel", "[boot][bzimage]") {
  const Ram ram(64 * kMib);
  BzImage kernel;
  const auto place_of = [&](const ipc::UniqueFd& initrd) -> std::uint64_t {
    const auto entry = ram.load(kernel.file(), &initrd);
    return entry ? std::uint64_t{zero_page(ram, *entry).hdr.ramdisk_image} : 0;
  };
  GIVEN("a kernel that takes it below 32 MiB only") {
    kernel.header.initrd_addr_max = 32 * kMib - 1;
    CHECK(place_of(hole_of(kMib)) == 31 * kMib);
  }
  GIVEN("a RAM disk that fills exactly what is above the kernel") {
    CHECK(place_of(hole_of(44 * kMib)) == 20 * kMib);
  }
  GIVEN("a kernel so high that only the room below it is left") {
    kernel.header.pref_address = 60 * kMib;
    CHECK(place_of(hole_of(kMib)) == 59 * kMib);
  }
  GIVEN("a RAM disk one byte too large for the room beside the kernel") {
    const auto initrd = hole_of(44 * kMib + 1);
    const auto entry = ram.load(kernel.file(), &initrd);
    REQUIRE_FALSE(entry);
    CHECK(entry.error().code == ENOSPC);
    CHECK(entry.error().context ==
          "initial RAM disk of 45 MiB does not fit beside the kernel of 4 MiB in the 64 MiB of RAM below 0x4000000");
  }
  GIVEN("a RAM disk larger than all RAM") {
    const auto initrd = hole_of(812 * kMib);
    const auto entry = ram.load(kernel.file(), &initrd);
    REQUIRE_FALSE(entry);
    CHECK(entry.error().code == ENOSPC);
    CHECK(entry.error().context == "initial RAM disk of 812 MiB does not fit in 64 MiB of RAM");
  }
  GIVEN("an empty RAM disk") {
    const auto initrd = hole_of(0);
    const auto entry = ram.load(kernel.file(), &initrd);
    REQUIRE_FALSE(entry);
    CHECK(entry.error().code == ENOEXEC);
    CHECK(entry.error().context == "initial RAM disk: the file is empty");
  }
  GIVEN("a kernel that takes no RAM disk at any address") {
    kernel.header.initrd_addr_max = 0;
    const auto initrd = file_of("x");
    const auto entry = ram.load(kernel.file(), &initrd);
    REQUIRE_FALSE(entry);
    CHECK(entry.error().code == ENOSPC);
  }
}

SCENARIO("bzImage: a command line that the kernel does not take is refused", "[boot][bzimage]") {
  BzImage kernel;
  kernel.header.cmdline_size = 255;
  const Ram ram(64 * kMib);
  CHECK(ram.load(kernel.file(), nullptr, std::string(255, 'x')));
  const auto entry = ram.load(kernel.file(), nullptr, std::string(256, 'x'));
  REQUIRE_FALSE(entry);
  CHECK(entry.error().code == E2BIG);
  CHECK(entry.error().context == "command line of 256 bytes is longer than the 255 that this kernel takes");
}

SCENARIO("bzImage: a damaged header is refused by name", "[boot][bzimage][hostile]") {
  BzImage kernel;
  const auto refusal = [&](std::string_view expected) {
    const auto entry = Ram(64 * kMib).load(kernel.file());
    REQUIRE_FALSE(entry);
    CHECK(entry.error().code == ENOEXEC);
    CHECK(entry.error().context == expected);
  };
  GIVEN("fewer bytes than the header announces") {
    kernel.syssize = 8192 / 16 + 1;
    refusal("kernel: truncated: its header announces 9729 bytes, the file has 9728");
  }
  GIVEN("the most code that a header can announce") {
    kernel.syssize = 0xffffffff;
    refusal("kernel: truncated: its header announces 68719478241 bytes, the file has 9728");
  }
  GIVEN("no code") {
    kernel.syssize = 0;
    refusal("kernel: damaged bzImage: its header announces no code");
  }
  GIVEN("more setup sectors than the file has") {
    kernel.header.setup_sects = 255;
    auto bytes = kernel.bytes();
    bytes.resize(9728);
    const auto entry = Ram(64 * kMib).load(file_of(bytes));
    REQUIRE_FALSE(entry);
    CHECK(entry.error().context == "kernel: truncated: its header announces 139249 bytes, the file has 9728");
  }
  GIVEN("a 64-bit entry behind the end of the code") {
    kernel.code.resize(0x200);
    refusal("kernel: damaged bzImage: its 64-bit entry lies behind its end");
  }
  GIVEN("an old protocol") {
    kernel.header.version = 0x0205;
    refusal("kernel: bzImage of boot protocol 2.05; 2.06 or newer is needed");
  }
  GIVEN("a zImage") {
    kernel.header.loadflags = 0;
    refusal("kernel: a zImage, which loads below 1 MiB; a bzImage is needed");
  }
  GIVEN("an alignment of 0") {
    kernel.header.kernel_alignment = 0;
    refusal("kernel: damaged bzImage: its alignment 0x0 is not a power of two");
  }
  GIVEN("an alignment that is no power of two") {
    kernel.header.kernel_alignment = 0x300000;
    refusal("kernel: damaged bzImage: its alignment 0x300000 is not a power of two");
  }
  GIVEN("a header that ends before the fields of its protocol") {
    kernel.header_end = 0x10;
    refusal("kernel: damaged bzImage: its setup header ends at 0x212, outside of [0x23c, 0x400]");
  }
}

SCENARIO("bzImage: a header may be as unusual as the protocol allows", "[boot][bzimage]") {
  BzImage kernel;
  const Ram ram(64 * kMib);
  GIVEN("no number of setup sectors, which means 4") {
    kernel.header.setup_sects = 0;
    kernel.code[0x200] = std::byte{0xf4};
    const auto entry = ram.load(kernel.file());
    REQUIRE(entry);
    CHECK(ram.get<std::uint8_t>(entry->rip) == 0xf4);
  }
  GIVEN("code that ends within its last paragraph") {
    kernel.code.resize(8192 - 8);
    CHECK(ram.load(kernel.file()));
  }
  GIVEN("bytes behind the code, like a signature: they are not loaded") {
    auto bytes = kernel.bytes();
    bytes.resize(bytes.size() + 4096, std::byte{0xee});
    const auto entry = ram.load(file_of(bytes));
    REQUIRE(entry);
    CHECK(ram.get<std::uint8_t>(16 * kMib + 8191) == 0x90);
    CHECK(ram.get<std::uint8_t>(16 * kMib + 8192) == 0);
  }
  GIVEN("the largest alignment: there is no such address in RAM") {
    kernel.header.kernel_alignment = 0x80000000;
    const auto entry = ram.load(kernel.file());
    REQUIRE_FALSE(entry);
    CHECK(entry.error().code == ENOSPC);
  }
}
