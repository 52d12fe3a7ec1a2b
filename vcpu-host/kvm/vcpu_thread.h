// The thread of one vCPU. It makes three system calls: KVM_RUN, write, futex. Whatever
// stops the vCPU it hands to the event loop's thread, and waits for it: devices have one thread.
#pragma once

#include <pthread.h>

#include <atomic>
#include <memory>

#include "sandbox/seccomp.h"
#include "vcpu-host/kvm/vcpu.h"

namespace vcpu_host {

class VcpuThread {
 public:
  // Starts the thread, which enters its system call filter and then waits to be resumed. It lives as
  // long as the process: there is no way to stop it but to end. `exits` (borrowed, an eventfd) is
  // written whenever the vCPU has stopped. EPERM if the thread could not enter its filter.
  static ipc::Result<std::unique_ptr<VcpuThread>> start(Vcpu vcpu, const ipc::UniqueFd& exits);

  // The rest is for the event loop's thread. The vCPU may be touched while it is stopped.
  bool stopped() const { return state_.load(std::memory_order_acquire) == kStopped; }
  // While it is stopped: serves what it stopped for, or tells why the VM cannot go on.
  std::optional<Crash> serve_exit(const Bus& ports, const Bus& memory);
  Vcpu& vcpu() { return vcpu_; }
  void resume();

 private:
  VcpuThread(Vcpu vcpu, const ipc::UniqueFd& exits, sandbox::Filter filter)
      : vcpu_(std::move(vcpu)), exits_(exits), filter_(std::move(filter)) {}
  static void* main(void* self);
  void run();
  void set_state(std::uint32_t state);
  void wait_while(std::uint32_t state) const;

  static constexpr std::uint32_t kStarting = 0, kFailed = 1, kReady = 2, kRunning = 3, kStopped = 4;

  Vcpu vcpu_;
  const ipc::UniqueFd& exits_;
  int error_ = 0;           // of the last KVM_RUN, an errno value
  sandbox::Filter filter_;  // compiled by the starter: the thread itself allocates nothing
  // A futex. The two threads alternate: what one wrote before its store the other sees after its load.
  std::atomic<std::uint32_t> state_{kStarting};
};

}  // namespace vcpu_host
