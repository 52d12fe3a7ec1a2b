// What is the same for every kind of kernel, and real kernels.
#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <memory>
#include <string>

#include "tests/support/catch.h"
#include "tests/unit/vcpu-host/boot/images.h"

using namespace boot_test;
using vcpu_host::EntryPoint;
namespace layout = vcpu_host::layout;

SCENARIO("boot: a file of the wrong kind is refused by what it is", "[boot]") {
  const Ram ram(16 * kMib);
  const auto refusal = [&](const ipc::UniqueFd& file) {
    const auto entry = ram.load(file);
    return entry ? std::string() : entry.error().context;
  };
  constexpr std::string_view kNeeded = "; a bzImage for x86 or an ELF image with the PVH note is needed";
  const auto filled = [](std::size_t offset, std::string_view magic) {
    std::vector<std::byte> bytes(4096);
    std::memcpy(bytes.data() + offset, magic.data(), magic.size());
    return file_of(bytes);
  };
  CHECK(refusal(hole_of(0)) == "kernel: the file is empty");
  CHECK(refusal(file_of("hello")) == std::string("kernel: truncated, or no kernel: 5 bytes").append(kNeeded));
  CHECK(refusal(hole_of(4096)) ==
        std::string("kernel: unknown format, starts with 00 00 00 00 00 00 00 00").append(kNeeded));
  CHECK(refusal(filled(0, "\x1f\x8b")) ==
        std::string("kernel: gzip-compressed data (a kernel of another architecture, or to be unpacked first)")
            .append(kNeeded));
  CHECK(refusal(filled(0x38, "ARM\x64")) == std::string("kernel: a kernel for arm64").append(kNeeded));
  CHECK(refusal(filled(0, "MZ")) == std::string("kernel: an EFI program without a Linux boot header").append(kNeeded));
  CHECK(refusal(filled(0x1fe, "\x55\xaa")) == std::string("kernel: a boot sector or disk image").append(kNeeded));
  CHECK(refusal(filled(0, "070701")) == std::string("kernel: a cpio archive (an initial RAM disk?)").append(kNeeded));
}

SCENARIO("boot: what is not a regular file is refused", "[boot]") {
  const Ram ram(16 * kMib);
  for (const char* path : {"/", "/dev/null"}) {
    const auto entry = ram.load(ipc::UniqueFd(::open(path, O_RDONLY | O_CLOEXEC)));
    REQUIRE_FALSE(entry);
    CHECK(entry.error().code == EINVAL);
    CHECK(entry.error().context == "kernel: not a regular file");
  }
  const auto closed = ram.load(ipc::UniqueFd());
  REQUIRE_FALSE(closed);
  CHECK(closed.error().code == EBADF);
}

SCENARIO("boot: a bzImage cut off anywhere is refused", "[boot][hostile]") {
  const Ram ram(64 * kMib);
  const auto whole = BzImage().bytes();
  for (std::size_t size = 0; size < whole.size() - 15; size += size < 0x300 ? 1 : 509) {
    const auto entry = ram.load(file_of(std::span(whole).first(size)));
    INFO("cut off after " << size << " bytes");
    REQUIRE_FALSE(entry);
    REQUIRE(entry.error().code == ENOEXEC);
  }
  CHECK(ram.load(file_of(whole)));
}

SCENARIO("boot: wrong arguments are refused", "[boot]") {
  const Ram ram(64 * kMib);
  const auto kernel = BzImage().file();
  const auto code_of = [&](std::uint64_t ram_bytes, std::uint32_t cpus, std::string_view cmdline) {
    const auto entry = vcpu_host::load_guest(
        ram.memory(), {.ram_bytes = ram_bytes, .cpus = cpus, .kernel = kernel, .cmdline = cmdline});
    return entry ? 0 : entry.error().code;
  };
  CHECK(code_of(64 * kMib, 1, "") == 0);
  CHECK(code_of(64 * kMib, 0, "") == EINVAL);
  CHECK(code_of(64 * kMib, vcpu_host::kMaxCpus + 1, "") == EINVAL);
  CHECK(code_of(15 * kMib, 1, "") == EINVAL);
  CHECK(code_of(64 * kMib - 1, 1, "") == EINVAL);
  CHECK(code_of(65 * kMib, 1, "") == EINVAL);  // more than there is
  CHECK(code_of(64 * kMib, 1, std::string(2047, 'x')) == 0);
  CHECK(code_of(64 * kMib, 1, std::string(2048, 'x')) == E2BIG);
  CHECK(code_of(64 * kMib, 1, std::string_view("a\0b", 3)) == EINVAL);
}

SCENARIO("boot: the kernel of this machine loads", "[boot]") {
  const std::unique_ptr<DIR, int (*)(DIR*)> boot(::opendir("/boot"), ::closedir);
  ipc::UniqueFd kernel;
  while (const dirent* entry = boot ? ::readdir(boot.get()) : nullptr) {
    if (std::string_view(entry->d_name).starts_with("vmlinuz-"))
      kernel = ipc::UniqueFd(::openat(::dirfd(boot.get()), entry->d_name, O_RDONLY | O_CLOEXEC));
    if (kernel) break;
  }
  if (!kernel) SKIP_TEST("no readable /boot/vmlinuz-*");
  const Ram ram(256 * kMib);
  const auto initrd = hole_of(16 * kMib);
  const auto entry = ram.load(kernel, &initrd);
  REQUIRE(entry);
  CHECK(entry->mode == EntryPoint::Mode::Long64);
  const auto page = ram.get<boot_params>(entry->rsi);
  CHECK(entry->rip == std::uint64_t{page.hdr.pref_address} + 0x200);
  CHECK(std::uint32_t{page.hdr.ramdisk_image} == 240 * kMib);
  THEN("it does not fit into 16 MiB") {
    const auto refused = Ram(16 * kMib).load(kernel);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ENOSPC);
  }
}

SCENARIO("boot: memtest86+ loads, which is no Linux and not relocatable", "[boot]") {
  ipc::UniqueFd wide(::open("/boot/memtest86+x64.bin", O_RDONLY | O_CLOEXEC));
  ipc::UniqueFd narrow(::open("/boot/memtest86+ia32.bin", O_RDONLY | O_CLOEXEC));
  if (!wide || !narrow) SKIP_TEST("memtest86+ is not installed");
  const Ram ram(16 * kMib);
  const auto entry64 = ram.load(wide);
  REQUIRE(entry64);
  CHECK(entry64->mode == EntryPoint::Mode::Long64);
  CHECK(entry64->rip == 0x100200);
  const auto entry32 = ram.load(narrow);
  REQUIRE(entry32);
  CHECK(entry32->mode == EntryPoint::Mode::Protected32);
  CHECK(entry32->rip == 0x100000);
}
