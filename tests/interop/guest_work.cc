#include "tests/interop/guest_work.h"

#include <cstdlib>
#include <iostream>
#include <sstream>

#include "tests/support/catch.h"

namespace interop {
namespace {

using Catch::Matchers::Contains;
using system_test::GuestShell;

void look(GuestShell& guest, const Effort& effort) {
  CHECK(guest.run("cat /sys/block/vdb/serial; echo") == std::string(kSerial) + "\n");
  CHECK(guest.run("ls /sys/block/vdb/mq | wc -l") == std::to_string(kQueues) + "\n");
  CHECK(guest.run("cat /sys/block/vdb/cache_type") == "write back\n");
  CHECK(guest.run("lsblk -brdno NAME,SIZE,RO,PHY-SEC,LOG-SEC,DISC-GRAN /dev/vdb") ==
        "vdb " + std::to_string(effort.size) + " 0 4096 512 4096\n");
}

void load_and_trim(GuestShell& guest, const Disk& disk, unsigned mebibytes) {
  REQUIRE_THAT(guest.run("mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt && echo mounted"), Contains("mounted"));
  const std::string fio = guest.run(verified_load(mebibytes));
  std::cout << summary(fio);
  CHECK_THAT(fio, Contains("err= 0"));

  const std::uint64_t full = disk.allocated();
  CHECK_THAT(guest.run("rm /mnt/verify*; sync; fstrim -v /mnt"), Contains("trimmed"));
  const std::uint64_t trimmed = disk.allocated();
  std::cout << "image: " << full / kMiB << " MiB allocated, after fstrim " << trimmed / kMiB << " MiB\n";
  CHECK(full >= 2 * mebibytes * kMiB);
  CHECK(trimmed < full - 3 * mebibytes * kMiB / 2);
}

void grow_while_mounted(GuestShell& guest, Disk& disk, const Effort& effort) {
  disk.grow(effort.grown);
  const std::string sectors = std::to_string(effort.grown / 512);
  CHECK(guest.run("for i in $(seq 100); do [ $(cat /sys/block/vdb/size) != " + sectors +
                  " ] || break; sleep 0.1; done; cat /sys/block/vdb/size") == sectors + "\n");
  CHECK_THAT(guest.run("resize2fs /dev/vdb"), Contains("is now"));
  // More than there was room for before.
  const std::string blocks = std::to_string((effort.size / kMiB + effort.grown / kMiB) / 2);
  CHECK_THAT(guest.run("dd if=/dev/zero of=/mnt/large bs=1M count=" + blocks + " conv=fsync"), Contains("records out"));
  CHECK(guest.run("umount /mnt && echo unmounted") == "unmounted\n");
  CHECK(disk.check_file_system() == "clean");
}

void discard(GuestShell& guest, const Disk& disk) {
  // Over what a file system has left there.
  CHECK(guest.run("cmp -s -n 8388608 /dev/vdb /dev/zero || echo data") == "data\n");
  CHECK(guest.run("blkdiscard -fz -l 8M /dev/vdb 2>/dev/null && cmp -n 8388608 /dev/vdb /dev/zero && echo zeroes") ==
        "zeroes\n");
  CHECK(guest.run("blkdiscard -f /dev/vdb 2>/dev/null && echo discarded") == "discarded\n");
  std::cout << "image: " << disk.allocated() / 1024 << " KiB allocated after blkdiscard\n";
  CHECK(disk.allocated() < kMiB);
}

}  // namespace

void work_with_files(GuestShell& guest, Disk& disk, const Effort& effort) {
  look(guest, effort);
  load_and_trim(guest, disk, effort.file);
  grow_while_mounted(guest, disk, effort);
  discard(guest, disk);
  CHECK(complaints(guest) == "");
}

std::string verified_load(unsigned mebibytes, const std::string& more) {
  return "fio --name=verify --directory=/mnt --size=" + std::to_string(mebibytes) +
         "M --rw=randwrite --bsrange=4k-64k --ioengine=libaio --direct=1 --iodepth=16 --numjobs=2 --fsync=128 "
         "--verify=crc32c --verify_fatal=1 --verify_backlog=256 --thread --group_reporting " +
         more;
}

std::string complaints(GuestShell& guest) {
  return guest.run(
      "dmesg --notime --color=never | grep -i -E 'I/O error|EXT4-fs (error|warning)|blocked for more|timeout'");
}

std::string summary(const std::string& fio) {
  std::istringstream lines(fio);
  std::string told;
  for (std::string line; std::getline(lines, line);)
    if (line.find("IOPS=") != std::string::npos || line.find("err=") != std::string::npos)
      told += "fio: " + line.substr(line.find_first_not_of(' ')) + "\n";
  return told;
}

std::uint64_t number_after(const std::string& text, const std::string& key) {
  const std::size_t at = text.find(key);
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + key.size(), nullptr, 10);
}

}  // namespace interop
