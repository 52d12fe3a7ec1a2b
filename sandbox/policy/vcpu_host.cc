// Entered before the first instruction of the guest.
#include "sandbox/policy/vcpu_host.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "sandbox/linux_kvm.h"

namespace sandbox {
namespace {

constexpr Rule kVcpuTable[] = {
    {SYS_ioctl, "run the guest", {on(Slot::Vcpu), equals(1, KVM_RUN)}},
    {SYS_futex, "wait until the event loop has handled an exit"},
    {SYS_write, "tell the event loop of an exit", {on(Slot::ExitEvent)}},
};

constexpr Rule kEventLoopTable[] = {
    {SYS_epoll_wait, "wait for exits, sockets, timers"},
    {SYS_read, "exit events, timers"},
    {SYS_write, "interrupts and doorbells (eventfds), the log"},
    {SYS_recvfrom, "the serial port's input", {equals(3, MSG_DONTWAIT)}},
    {SYS_sendto, "the serial port's output", {equals(3, MSG_DONTWAIT | MSG_NOSIGNAL)}},
    {SYS_futex, "let a vCPU go on after its exit"},
    {SYS_clock_gettime, "time, where the vDSO cannot tell it"},
    {SYS_timerfd_settime, "arm the RTC's alarm, and the time limit of a back end's reply"},
    {SYS_recvmsg, "control frames, vhost-user replies"},
    {SYS_sendmsg, "control frames, vhost-user requests with their descriptors"},
    {SYS_poll, "whether a masked vector's eventfd is signalled"},
    {SYS_epoll_ctl, "watch a new descriptor, or no more"},
    {SYS_ioctl, "MSI-X: what a vector sends", {on(Slot::Vm), equals(1, KVM_SET_GSI_ROUTING)}},
    {SYS_ioctl, "MSI-X: which event raises a vector", {on(Slot::Vm), equals(1, KVM_IRQFD)}},
    {SYS_ioctl, "a doorbell's address follows its BAR", {on(Slot::Vm), equals(1, KVM_IOEVENTFD)}},
    {SYS_mmap, "allocate; never executable", {forbids(2, PROT_EXEC)}},
    {SYS_munmap, "free"},
    {SYS_madvise, "leave what is in flight out of core dumps", {equals(2, MADV_DONTDUMP)}},
    {SYS_madvise, "map it in large pages", {equals(2, MADV_HUGEPAGE)}},
    {SYS_madvise, "give memory back", {equals(2, MADV_DONTNEED)}},
    {SYS_brk, "allocate"},
    {SYS_close, "drop replaced descriptors"},
    {SYS_exit_group, "the monitor has gone"},
};

}  // namespace

constinit const Policy kVcpuPolicy = kVcpuTable;
constinit const Policy kEventLoopPolicy = kEventLoopTable;

}  // namespace sandbox
