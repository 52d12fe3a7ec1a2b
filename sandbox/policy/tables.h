// Tables of rules that back ends' policies are joined from.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>

#include "sandbox/policy/back_end.h"

#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#endif
#ifndef F_GET_SEALS
#define F_GET_SEALS 1034
#endif

namespace sandbox::tables {

inline constexpr Rule kEveryThread[] = {
    {SYS_write, "raise guest interrupts (call eventfds), wake another thread, write the log, give a device state away"},
    {SYS_futex, "park and be parked; C++ run time: one-time initialisation"},
    {SYS_sched_yield, "wait for another thread a little, before futex"},
    {SYS_clock_gettime, "time, where the vDSO cannot tell it"},
    {SYS_restart_syscall, "go on with a wait that a stop signal interrupted"},
    {SYS_exit_group, "stop"},
};

inline constexpr Rule kRing[] = {
    {SYS_io_uring_enter, "submit and await I/O; the ring's own restrictions narrow it", {on(Slot::Ring)}},
    {SYS_io_uring_register,
     "a vring's kick eventfd becomes a fixed file",
     {on(Slot::Ring), equals(1, IORING_REGISTER_FILES_UPDATE)}},
};

inline constexpr Rule kRingBuffers[] = {
    {SYS_io_uring_register,
     "guest memory becomes a registered buffer, or is one no more",
     {on(Slot::Ring), equals(1, IORING_REGISTER_BUFFERS_UPDATE)}},
};

inline constexpr Rule kEpoll[] = {
    {SYS_epoll_wait, "await kicks and messages", {on(Slot::Ring)}},
    {SYS_epoll_ctl, "a vring's kick eventfd is waited for", {on(Slot::Ring)}},
};

inline constexpr Rule kSession[] = {
    {SYS_read, "vhost-user bytes, a device state"},
    {SYS_recvmsg, "vhost-user requests and control frames, with their descriptors"},
    {SYS_sendmsg, "vhost-user replies, control frames"},
    {SYS_poll, "wait for a socket's rest of a message; is there room in a pipe?"},
    {SYS_mmap,
     "map the memory table, the in-flight region and the dirty log; allocate; never executable",
     {forbids(2, PROT_EXEC)}},
    {SYS_munmap, "drop an old memory table; free"},
    {SYS_madvise, "leave guest RAM out of core dumps", {equals(2, MADV_DONTDUMP)}},
    {SYS_madvise, "map guest RAM in large pages", {equals(2, MADV_HUGEPAGE)}},
    {SYS_madvise, "give memory back", {equals(2, MADV_DONTNEED)}},
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

inline constexpr Rule kListening[] = {
    {SYS_accept4, "the next front end, when the last has gone", {on(Slot::Listener)}},
};

inline constexpr Rule kOperators[] = {
    {SYS_epoll_wait, "what asks for something: signals, operators, the monitor", {on(Slot::Events)}},
    {SYS_epoll_ctl, "an operator comes or goes", {on(Slot::Events)}},
    {SYS_accept4, "an operator connects", {on(Slot::ControlListener)}},
    {SYS_getsockopt, "which uid he has", {equals(1, SOL_SOCKET), equals(2, SO_PEERCRED)}},
};

inline constexpr Rule kWorker[] = {
    {SYS_brk, "allocate for a dirty log: all threads share one heap"},
    {SYS_rt_sigprocmask, "the C library, at the thread's end"},
    {SYS_madvise, "the same: give its stack back", {equals(2, MADV_DONTNEED)}},
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

}  // namespace sandbox::tables
