// No row opens, binds, connects, starts or signals: for that there is the spawner.
#include "sandbox/policy/monitor.h"

#include <asm/ioctls.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/wait.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace sandbox {
namespace {

constexpr Rule kMonitorTable[] = {
    {SYS_epoll_wait, "wait for children, operators, timers"},
    {SYS_epoll_ctl, "watch a child, an operator, a timer, or no more"},
    {SYS_read, "children's logs, the operator's input, signals, timers"},
    {SYS_write, "messages and the serial port's output"},
    {SYS_recvfrom, "the serial port's output from vcpu-host", {equals(3, MSG_DONTWAIT)}},
    {SYS_sendto, "and its input", {equals(3, MSG_DONTWAIT | MSG_NOSIGNAL)}},
    {SYS_recvmsg, "control frames"},
    {SYS_sendmsg, "control frames with descriptors"},
    {SYS_poll, "the spawner's answer; may a terminal be written to?"},
    {SYS_accept4, "operators; who comes to a cable"},
    {SYS_getsockopt, "who connects", {equals(1, SOL_SOCKET), equals(2, SO_PEERCRED)}},
    {SYS_socketpair, "control, vhost-user and serial sockets of the next children", {equals(0, AF_UNIX)}},
    {SYS_pipe2, "a child's log"},
    {SYS_fcntl, "a pipe that does not block", {equals(1, F_SETFL)}},
    {SYS_fcntl, "a tap's queue for the next back end", {equals(1, F_DUPFD_CLOEXEC)}},
    {SYS_fcntl, "guest RAM of one size", {equals(1, F_ADD_SEALS)}},
    {SYS_memfd_create, "guest RAM after a reboot", {equals(1, MFD_CLOEXEC | MFD_ALLOW_SEALING)}},
    {SYS_ftruncate, "its size"},
    {SYS_eventfd2, "doorbells and interrupts of a device"},
    {SYS_timerfd_create, "limits of time, and what is tried again"},
    {SYS_timerfd_settime, "arm them"},
    {SYS_newfstatat, "what a serial port's descriptor is (fstat)", {equals(3, AT_EMPTY_PATH)}},
    {SYS_fstat, "the same"},
    {SYS_ioctl, "leave the terminal as it was", {equals(0, 0), equals(1, TCSETSW)}},
    {SYS_ioctl, "the same: the C library looks first", {equals(0, 0), equals(1, TCGETS)}},
    {SYS_waitid, "how the spawner ended", {equals(0, P_PIDFD)}},
    {SYS_getpid, "for who asks for the machine's status"},
    {SYS_clock_gettime, "time, where the vDSO cannot tell it"},
    {SYS_mmap, "allocate; never executable", {forbids(2, PROT_EXEC)}},
    {SYS_munmap, "free"},
    {SYS_mremap, "allocate"},
    {SYS_brk, "allocate"},
    {SYS_madvise, "give memory back", {equals(2, MADV_DONTNEED)}},
    {SYS_close, "drop what a child or a client had"},
    {SYS_restart_syscall, "go on with a wait that a stop signal interrupted"},
    {SYS_exit_group, "the machine has ended"},
};

}  // namespace

constinit const Policy kMonitorPolicy = kMonitorTable;

}  // namespace sandbox
