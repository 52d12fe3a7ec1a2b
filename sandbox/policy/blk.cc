// Entered before the first byte of a guest or of a front end is read.
#include "sandbox/policy/blk.h"

#include <sys/resource.h>

#include "sandbox/policy/tables.h"

namespace sandbox {
namespace {

using namespace tables;  // NOLINT(google-build-using-namespace): this file is one more of them

constexpr Rule kCalls[] = {
    {SYS_preadv, "disk reads", {on(Slot::Image)}},
    {SYS_pwritev2, "disk writes that are durable when they return", {on(Slot::Image)}},
    {SYS_fdatasync, "VIRTIO_BLK_T_FLUSH", {on(Slot::Image)}},
    {SYS_fallocate, "discard and write-zeroes", {on(Slot::Image)}},
    {SYS_preadv, "disk reads that direct I/O cannot do", {on(Slot::Unaligned)}},
    {SYS_pwritev2, "such writes, durable", {on(Slot::Unaligned)}},
};

constexpr Rule kGrowing[] = {
    {SYS_lseek, "the image's size, when it may have grown", {on(Slot::Unaligned)}},
    {SYS_prlimit64, "let an image that has grown be written to its new end", {equals(0, 0), equals(1, RLIMIT_FSIZE)}},
    {SYS_fcntl, "lock the image while rings run", {on(Slot::Unaligned), equals(1, F_OFD_SETLK)}},
};

template <const auto&... OfRole>
Policy with_io(BlkIo io) {
  switch (io) {
    case BlkIo::Ring:
      return kJoined<kRing, kEveryThread, OfRole...>;
    case BlkIo::PinnedRing:
      return kJoined<kRing, kRingBuffers, kEveryThread, OfRole...>;
    case BlkIo::RingAndCalls:
      return kJoined<kRing, kCalls, kEveryThread, OfRole...>;
    case BlkIo::Calls:
      return kJoined<kEpoll, kCalls, kEveryThread, OfRole...>;
  }
  __builtin_unreachable();  // all values return
}

}  // namespace

Policy blk_policy(Role role, BlkIo io) {
  switch (role) {
    case Role::Monitored:
      return with_io<kSession, kOperators>(io);
    case Role::Standalone:
      return with_io<kSession, kListening, kOperators, kGrowing>(io);
    case Role::Worker:
      return with_io<kWorker>(io);
  }
  __builtin_unreachable();  // all values return
}

}  // namespace sandbox
