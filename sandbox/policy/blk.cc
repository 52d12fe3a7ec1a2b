// Entered before the first byte of a guest or of a front end is read.
#include "sandbox/policy/blk.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>

#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#endif
#ifndef F_GET_SEALS
#define F_GET_SEALS 1034
#endif

namespace sandbox {
namespace {

constexpr Rule kEveryThread[] = {
    {SYS_write, "raise guest interrupts (call eventfds), wake another thread, write the log, give a device state away"},
    {SYS_futex, "park and be parked; C++ run time: one-time initialisation"},
    {SYS_sched_yield, "wait for another thread a little, before futex"},
    {SYS_clock_gettime, "time, where the vDSO cannot tell it"},
    {SYS_restart_syscall, "go on with a wait that a stop signal interrupted"},
    {SYS_rt_sigreturn, "return from a signal handler"},
    {SYS_exit_group, "stop"},
};

constexpr Rule kRing[] = {
    {SYS_io_uring_enter, "submit and await I/O; kBlkRingOpcodes narrows it", {on(Slot::Ring)}},
    {SYS_io_uring_register,
     "a vring's kick eventfd becomes a fixed file",
     {on(Slot::Ring), equals(1, IORING_REGISTER_FILES_UPDATE)}},
    {SYS_io_uring_register, "the same, with tags", {on(Slot::Ring), equals(1, IORING_REGISTER_FILES_UPDATE2)}},
};

constexpr Rule kEpoll[] = {
    {SYS_epoll_wait, "await kicks and messages", {on(Slot::Ring)}},
    {SYS_epoll_ctl, "a vring's kick eventfd is waited for", {on(Slot::Ring)}},
};

constexpr Rule kCalls[] = {
    {SYS_preadv, "disk reads", {on(Slot::Image)}},
    {SYS_pwritev, "disk writes", {on(Slot::Image)}},
    {SYS_pwritev2, "disk writes that are durable when they return", {on(Slot::Image)}},
    {SYS_fdatasync, "VIRTIO_BLK_T_FLUSH", {on(Slot::Image)}},
    {SYS_fallocate, "discard and write-zeroes", {on(Slot::Image)}},
    {SYS_preadv, "disk reads that direct I/O cannot do", {on(Slot::Unaligned)}},
    {SYS_pwritev, "such writes", {on(Slot::Unaligned)}},
    {SYS_pwritev2, "such writes, durable", {on(Slot::Unaligned)}},
};

constexpr Rule kSession[] = {
    {SYS_read, "vhost-user bytes, a device state"},
    {SYS_recvmsg, "vhost-user requests and control frames, with their descriptors"},
    {SYS_sendmsg, "vhost-user replies, control frames"},
    {SYS_ppoll, "wait for a socket's rest of a message; is there room in a pipe?"},
    {SYS_poll, "the same, as the C library makes it"},
    {SYS_mmap,
     "map the memory table, the in-flight region and the dirty log; allocate; never executable",
     {forbids(2, PROT_EXEC)}},
    {SYS_munmap, "drop an old memory table; free"},
    {SYS_madvise, "leave guest RAM out of core dumps; give memory back"},
    {SYS_brk, "allocate"},
    {SYS_mremap, "grow a large allocation"},
    {SYS_close, "drop replaced descriptors"},
    {SYS_fcntl, "refuse memory that its owner could truncate", {equals(1, F_GET_SEALS)}},
    {SYS_memfd_create, "the in-flight region that GET_INFLIGHT_FD asks for"},
    {SYS_ftruncate, "give it its size"},
    {SYS_fcntl, "seal it", {equals(1, F_ADD_SEALS)}},
    {SYS_fstat, "size of a memory region's file"},
    {SYS_newfstatat, "fstat(), as glibc 2.33 to 2.38 make it", {equals(3, AT_EMPTY_PATH)}},
};

constexpr Rule kListening[] = {
    {SYS_accept4, "the next front end, when the last has gone", {on(Slot::Listener)}},
    {SYS_lseek, "the image's size, when it may have grown", {on(Slot::Unaligned)}},
    {SYS_prlimit64, "let an image that has grown be written to its new end", {equals(0, 0), equals(1, RLIMIT_FSIZE)}},
    {SYS_fcntl, "lock the image while rings run", {on(Slot::Unaligned), equals(1, F_OFD_SETLK)}},
    {SYS_epoll_wait, "what asks for something: signals, operators", {on(Slot::Events)}},
    {SYS_epoll_ctl, "an operator comes or goes", {on(Slot::Events)}},
    {SYS_accept4, "an operator connects", {on(Slot::ControlListener)}},
    {SYS_getsockopt, "which uid he has", {equals(1, SOL_SOCKET), equals(2, SO_PEERCRED)}},
};

constexpr Rule kEndOfThread[] = {
    {SYS_rt_sigprocmask, "the C library, at a thread's end"},
    {SYS_madvise, "the same: give its stack back"},
    {SYS_munmap, "the same"},
    {SYS_exit, "end the thread"},
};

// One table of several, known at compile time.
template <const auto&... Parts>
constexpr auto kJoined = [] {
  std::array<Rule, (std::size(Parts) + ...)> all{};
  auto end = all.begin();
  ((end = std::ranges::copy(Parts, end).out), ...);
  return all;
}();

template <const auto&... OfRole>
Policy with_io(BlkIo io) {
  switch (io) {
    case BlkIo::Ring:
      return kJoined<kRing, kEveryThread, OfRole...>;
    case BlkIo::RingAndCalls:
      return kJoined<kRing, kCalls, kEveryThread, OfRole...>;
    case BlkIo::Calls:
      return kJoined<kEpoll, kCalls, kEveryThread, OfRole...>;
  }
  __builtin_unreachable();  // all values return
}

constexpr Rule kKeeperTable[] = {
    {SYS_write, "say that it is ready"},
    {SYS_read, "wait for the word, or for the end of who gives it"},
    {SYS_newfstatat, "is the path still the same socket?", {on(Slot::Directory)}},
    {SYS_unlinkat, "remove it", {on(Slot::Directory)}},
    {SYS_restart_syscall, "go on with a wait that a stop signal interrupted"},
    {SYS_exit_group, "end"},
};

}  // namespace

Policy blk_policy(BlkRole role, BlkIo io) {
  switch (role) {
    case BlkRole::Monitored:
      return with_io<kSession>(io);
    case BlkRole::Standalone:
      return with_io<kSession, kListening>(io);
    case BlkRole::Worker:
      return with_io<kEndOfThread>(io);
  }
  __builtin_unreachable();  // all values return
}

constinit const Policy kBlkKeeperPolicy = kKeeperTable;

}  // namespace sandbox
