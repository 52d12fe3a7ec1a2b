// Entered before the first instruction of the guest.
#include "sandbox/policy/vcpu_host.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include "sandbox/linux_kvm.h"

namespace sandbox {
namespace {

constexpr Rule kVcpuTable[] = {
    {SYS_ioctl, "run the guest", {on(Slot::Vcpu), equals(1, KVM_RUN)}},
    {SYS_futex, "wait until the event loop has handled an exit"},
    {SYS_write, "tell the event loop of an exit", {on(Slot::ExitEvent)}},
    {SYS_rt_sigreturn, "return from the signal that takes the thread out of KVM_RUN"},
    {SYS_exit_group, "the guest is done"},
};

constexpr Rule kEventLoopTable[] = {
    {SYS_epoll_wait, "wait for exits, sockets, timers"},
    {SYS_epoll_pwait, "the same, as the C library may make it"},
    {SYS_read, "exit events, timers, the serial port's input, vhost-user bytes"},
    {SYS_write, "the serial port's output, interrupts (irqfd eventfds), the log"},
    {SYS_futex, "let a vCPU go on after its exit"},
    {SYS_clock_gettime, "time, where the vDSO cannot tell it"},
    {SYS_timerfd_settime, "arm the RTC's alarm and the serial port's timeouts"},
    {SYS_recvmsg, "control frames, vhost-user replies"},
    {SYS_sendmsg, "control frames, vhost-user requests with their descriptors"},
    {SYS_poll, "wait for a back end's reply"},
    {SYS_ppoll, "the same, as the C library may make it"},
    {SYS_epoll_ctl, "watch a new descriptor, or no more"},
    {SYS_ioctl, "MSI-X: what a vector sends", {on(Slot::Vm), equals(1, KVM_SET_GSI_ROUTING)}},
    {SYS_ioctl, "MSI-X: which event raises a vector", {on(Slot::Vm), equals(1, KVM_IRQFD)}},
    {SYS_ioctl, "a doorbell's address follows its BAR", {on(Slot::Vm), equals(1, KVM_IOEVENTFD)}},
    {SYS_mmap, "allocate; never executable", {forbids(2, PROT_EXEC)}},
    {SYS_munmap, "free"},
    {SYS_mremap, "grow a large allocation"},
    {SYS_madvise, "give memory back"},
    {SYS_brk, "allocate"},
    {SYS_close, "drop replaced descriptors"},
    {SYS_tgkill, "take a vCPU out of KVM_RUN"},
    {SYS_getpid, "tgkill's first argument"},
    {SYS_rt_sigprocmask, "the C library's pthread_kill"},
    {SYS_restart_syscall, "go on with a wait that a stop signal interrupted"},
    {SYS_rt_sigreturn, "return from a signal handler"},
    {SYS_exit_group, "power off"},
};

}  // namespace

constinit const Policy kVcpuPolicy = kVcpuTable;
constinit const Policy kEventLoopPolicy = kEventLoopTable;

}  // namespace sandbox
