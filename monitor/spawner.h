// The monitor's side of its spawner (ipc/schema/spawner.capnp): the process that does what takes the operator's rights,
// before the monitor gives its own up and after.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ipc/control_channel.h"
#include "ipc/schema/spawner.capnp.h"
#include "ipc/tap.h"
#include "monitor/configuration.h"
#include "sandbox/child_process.h"

namespace monitor {

using ProgramKind = ipc::schema::ProcessStart::Program;

// Each call waits for the spawner: some milliseconds.
class Spawner {
 public:
  // A process of the spawner's. It does not outlive this object, nor the spawner, nor us.
  class Process {
   public:
    Process(Process&& other) noexcept = default;
    Process& operator=(Process&&) = delete;
    ~Process();  // SIGKILL, and waits until it is gone

    pid_t pid() const { return pid_; }
    const ipc::UniqueFd& pidfd() const { return pidfd_; }     // readable when it has ended
    void kill() { spawner_.tell(&Request::setKill, slot_); }  // SIGKILL; harmless when it has ended
    ipc::Result<std::optional<sandbox::Exit>> exit_status();  // how it ended, or nothing while it runs

   private:
    friend Spawner;
    Process(Spawner& spawner, std::uint16_t slot, pid_t pid, ipc::UniqueFd pidfd)
        : spawner_(spawner), slot_(slot), pid_(pid), pidfd_(std::move(pidfd)) {}
    Spawner& spawner_;
    std::uint16_t slot_;
    pid_t pid_;
    ipc::UniqueFd pidfd_;  // empty: moved from
  };

  // What is to be started in a slot: one for each device, one for vcpu-host.
  struct Order {
    std::uint16_t slot;
    ProgramKind program;
    const ipc::UniqueFd* given = nullptr;  // in place of our own
    sandbox::Limits limits = {};           // open_files, file_bytes, threads
  };

  // With the operator's rights: the programs lie in `folder`, which ends with a slash. ENOENT for one that is not
  // there.
  static ipc::Result<std::unique_ptr<Spawner>> start(const std::string& folder, const Configuration& machine);
  ~Spawner();  // it has ended, and removed what it made
  Spawner(const Spawner&) = delete;
  Spawner& operator=(const Spawner&) = delete;

  pid_t pid() const { return process_.pid(); }
  const ipc::UniqueFd& pidfd() const { return process_.pidfd(); }  // readable when it has ended
  std::string how_it_ended();

  // Until seal():
  ipc::Result<std::vector<ipc::UniqueFd>> make_folder();  // its sockets: the machine's, then each device's
  ipc::Result<> make_cgroup();
  ipc::Result<ipc::Tap> make_tap(std::size_t card);
  ipc::Result<> seal();

  // From then on:
  ipc::Result<Process> run(const Order& order, const ipc::UniqueFd& control, const ipc::UniqueFd& log);
  ipc::Result<Process> run_passt(std::size_t card);
  ipc::Result<ipc::UniqueFd> connect(std::size_t device);
  struct End {
    ipc::UniqueFd socket;
    bool listens;  // or it is connected
  };
  ipc::Result<End> plug(std::size_t card);  // its cable, or its passt. EAGAIN: that does not listen yet
  void unplug(std::size_t card) { tell(&Request::setUnplug, card); }

 private:
  using Request = ipc::schema::ToSpawner::Builder;
  using Answer = ipc::schema::SpawnerAnswer;
  using Numbered = void (Request::*)(std::uint16_t);

  Spawner(sandbox::ChildProcess process, ipc::ControlChannel channel)
      : process_(std::move(process)), channel_(std::move(channel)) {}
  // What was answered; what is `failed` as an error, and what has no descriptor where one is due.
  ipc::Result<ipc::Frame> ask(const std::function<void(Request)>& fill, std::span<const int> fds = {});
  ipc::Result<ipc::Frame> ask_for_one(const std::function<void(Request)>& fill, std::span<const int> fds = {});
  void tell(Numbered what, std::size_t number);
  ipc::Result<Process> run(const Order& order, std::size_t card, std::span<const int> fds);

  sandbox::ChildProcess process_;
  ipc::ControlChannel channel_;
};

}  // namespace monitor
