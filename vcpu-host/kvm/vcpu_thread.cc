#include "vcpu-host/kvm/vcpu_thread.h"

#include <linux/futex.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "sandbox/policy/vcpu_host.h"

namespace vcpu_host {

using ipc::failure;
using ipc::Result;

namespace {

// The thread's stack: it calls nothing deep, and 254 of them are to stay small.
constexpr std::size_t kStackBytes = 256 * 1024;

void futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value) {
  ::syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0);
}

}  // namespace

Result<std::unique_ptr<VcpuThread>> VcpuThread::start(Vcpu vcpu, const ipc::UniqueFd& exits) {
  auto slots = sandbox::Slots().set(sandbox::Slot::Vcpu, vcpu.fd()).set(sandbox::Slot::ExitEvent, exits);
  sandbox::Filter filter = TRY(sandbox::Filter::compile(sandbox::kVcpuPolicy, slots));
  std::unique_ptr<VcpuThread> thread(new VcpuThread(std::move(vcpu), exits, std::move(filter)));
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, kStackBytes);
  ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t handle{};
  const int error = ::pthread_create(&handle, &attributes, &VcpuThread::main, thread.get());
  ::pthread_attr_destroy(&attributes);
  if (error != 0) return failure(error, fmt::format("start the thread of vCPU {}", thread->vcpu_.index()));
  thread->wait_while(kStarting);
  if (thread->state_.load(std::memory_order_acquire) == kFailed) {
    const std::uint32_t index = thread->vcpu_.index();
    static_cast<void>(thread.release());  // its thread still waits on it; the process ends now
    return failure(EPERM, fmt::format("seal the thread of vCPU {}", index));
  }
  return thread;
}

void* VcpuThread::main(void* self) {
  static_cast<VcpuThread*>(self)->run();
  return nullptr;
}

void VcpuThread::run() {
  const std::uint32_t outcome = filter_.enter() ? kReady : kFailed;
  set_state(outcome);
  wait_while(outcome);
  for (;;) {
    error_ = ::ioctl(vcpu_.fd().get(), KVM_RUN, 0) == 0 ? 0 : errno;
    // A signal, or the SIPI that this vCPU was waiting for: there is no exit to serve.
    if (error_ == EINTR || error_ == EAGAIN) continue;
    state_.store(kStopped, std::memory_order_release);
    ::eventfd_write(exits_.get(), 1);
    wait_while(kStopped);
  }
}

void VcpuThread::set_state(std::uint32_t state) {
  state_.store(state, std::memory_order_release);
  futex(state_, FUTEX_WAKE_PRIVATE, 1);
}

void VcpuThread::wait_while(std::uint32_t state) const {
  auto& word = const_cast<std::atomic<std::uint32_t>&>(state_);
  while (word.load(std::memory_order_acquire) == state) futex(word, FUTEX_WAIT_PRIVATE, state);
}

std::optional<Crash> VcpuThread::serve_exit(const Bus& ports, const Bus& memory) {
  if (error_ != 0) return Crash{fmt::format("KVM_RUN of vCPU {}: {}", vcpu_.index(), std::strerror(error_))};
  return vcpu_.serve_exit(ports, memory);
}

void VcpuThread::resume() {
  set_state(kRunning);
}

}  // namespace vcpu_host
