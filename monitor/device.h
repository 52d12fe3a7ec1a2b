// One device of the guest, and the process behind it, which may be replaced any number of times while the guest runs.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ipc/event_loop.h"
#include "ipc/schema/control.capnp.h"
#include "ipc/schema/machine_control.capnp.h"
#include "ipc/seal.h"
#include "ipc/timer.h"
#include "ipc/unix_socket.h"
#include "monitor/child.h"
#include "monitor/ending.h"
#include "monitor/gaps.h"
#include "monitor/way_out.h"

namespace monitor {

// What vcpu-host needs to reach a back end (ipc/schema/control.capnp, ToVcpuHost.device).
struct Connection {
  ipc::UniqueFd socket;
  ipc::StreamPair requests;
  std::array<int, 3> descriptors() const { return {socket.get(), requests.ours.get(), requests.theirs.get()}; }
};

class Device {
 public:
  // What it is part of. Called from the event loop.
  class Machine {
   public:
    virtual ~Machine() = default;
    virtual bool guest_runs() const = 0;
    // While the guest does not run: the process is ready, has ended, or has said why it cannot serve.
    virtual ipc::Result<> device_sealed() = 0;
    virtual void lost(const std::string& name, const sandbox::Exit& exit) = 0;
    virtual void end(Ending ending) = 0;
    // While it runs: vcpu-host is to have this connection in place of the one that it had.
    virtual void reconnect(std::uint16_t slot, const Connection& connection) = 0;
  };

  struct Plan {
    std::string name;    // "blk0", or the socket of somebody else's back end
    std::uint16_t slot;  // its place among the machine's devices
    std::uint16_t virtio_id;
    std::size_t queues;
    WayOut* way = nullptr;  // of a network card; borrowed
    // Starts a back end by start(), or connects to somebody else's: vcpu-host's end of the vhost-user socket.
    std::function<ipc::Result<ipc::UniqueFd>(Device& device)> find_back_end;
  };

  // All but `plan` are borrowed. `machine_name` goes into messages.
  static ipc::Result<std::unique_ptr<Device>> create(ipc::EventLoop& loop, Spawner& spawner,
                                                     const std::string& machine_name, Machine& machine, Plan plan);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const std::string& name() const { return plan_.name; }
  const Plan& plan() const { return plan_; }
  bool sealed() const { return sealed_; }  // or not ours to wait for
  std::vector<int> events() const;         // its eventfds: kicks, calls, and one for changes of configuration

  // For `find_back_end`: a process of `program`, or of the one that an operator gave.
  ipc::Result<> start(ProgramKind program, const sandbox::Limits& limits);
  ipc::Result<> send(capnp::MessageBuilder& message, std::span<const int> fds) { return child_->send(message, fds); }

  // The first connection, or another.
  ipc::Result<Connection> connect();

  // What vcpu-host says of the connections that it was given. EPROTO for what cannot be.
  ipc::Result<> connection_lost(ipc::schema::BackEndLoss::Reader loss);
  ipc::Result<> connection_replaced(ipc::schema::BackEndReplacement::Reader replacement);

  // Has it get another back end: of `program`, or of the program that it had if that is empty. EOPNOTSUPP for
  // somebody else's.
  ipc::Result<> restart(ipc::UniqueFd program);

  void describe(ipc::schema::ProcessStatus::Builder status) const;
  const Gaps& gaps() const { return gaps_; }

 private:
  // A program that an operator gave, in place of ours.
  struct Trial {
    ipc::UniqueFd program;
    enum class Stage { Due, Running, Passed } stage = Stage::Due;
  };

  Device(ipc::EventLoop& loop, Spawner& spawner, const std::string& machine_name, Machine& machine, Plan plan)
      : loop_(loop),
        spawner_(spawner),
        machine_name_(machine_name),
        machine_(machine),
        plan_(std::move(plan)),
        retry_(loop) {}
  ipc::Result<> said(ipc::Frame frame);
  void misbehaved(const ipc::Error& error);
  void ended(const sandbox::Exit& exit);
  void give_up_trial();
  // At once or, if the last back end was soon lost, later.
  void replace(std::chrono::milliseconds at_least = {});
  void find_another();
  void say(const std::string& text) const;

  ipc::EventLoop& loop_;
  Spawner& spawner_;
  const std::string& machine_name_;
  Machine& machine_;
  const Plan plan_;
  std::vector<ipc::UniqueFd> events_;

  std::unique_ptr<Child> child_;  // none: somebody else's, or it is being replaced
  std::optional<Trial> trial_;
  bool sealed_ = true;
  ipc::Seal seal_;
  std::chrono::steady_clock::time_point found_;  // when the last connection was
  unsigned connections_ = 0;                     // that vcpu-host was given
  unsigned losses_ = 0;                          // of those, as it says
  unsigned replacements_ = 0;                    // that it told of
  unsigned failures_ = 0;                        // to find another, since then
  std::string cause_;                            // of the last loss
  std::string last_cause_;                       // of the last replacement
  std::chrono::milliseconds patience_{0};
  Gaps gaps_;
  ipc::Timer retry_;
};

}  // namespace monitor
