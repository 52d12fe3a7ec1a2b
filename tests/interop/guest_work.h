// What a Linux guest does with a disk, whichever front end is between it and bulkhead-blk.
#pragma once

#include <string>

#include "tests/interop/disk.h"
#include "tests/system/guest_shell.h"

namespace interop {

// How much of it: a guest in the lab is many times slower than one in QEMU.
struct Effort {
  std::uint64_t size;   // of the disk, bytes
  std::uint64_t grown;  // its size later
  unsigned file;        // MiB that each of two jobs writes and verifies
};

// In a guest at its shell whose /dev/vdb is `disk`, all queues used: makes a file system, loads it with verified I/O,
// trims it, grows it, discards it. Checks what the guest and the image show, and prints what it measured.
void work_with_files(system_test::GuestShell& guest, Disk& disk, const Effort& effort);

// A command of the guest: two jobs of fio that write so many MiB each in /mnt and verify them.
std::string verified_load(unsigned mebibytes, const std::string& more = "");

// What the guest's kernel says of disks that do not work: nothing when all is well.
std::string complaints(system_test::GuestShell& guest);

// The lines of fio's output that tell what it did.
std::string summary(const std::string& fio);

// The number that follows `key` in the text, 0 if there is none.
std::uint64_t number_after(const std::string& text, const std::string& key);

}  // namespace interop
