// What a monitor may ask of its spawner, and all that has a path or a name in its configuration: programs, control
// folder, cgroup, taps, cables, somebody else's back ends.
#pragma once

#include <unistd.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ipc/control_channel.h"
#include "ipc/schema/spawner.capnp.h"
#include "sandbox/cgroup.h"
#include "sandbox/child_process.h"
#include "spawner/control_folder.h"
#include "spawner/passt_socket.h"

namespace spawner {

// An answer's descriptors.
using Descriptors = std::vector<ipc::UniqueFd>;

class Spawner {
 public:
  Spawner() = default;
  Spawner(const Spawner&) = delete;
  Spawner& operator=(const Spawner&) = delete;
  ~Spawner();  // all processes are gone, and so is what was made for the machine

  // Once sealed, the monitor may be an attacker's: what it must not ask for is `failed`, and does nothing.
  Descriptors answer(ipc::Frame& request, ipc::schema::SpawnerAnswer::Builder answer);

 private:
  using Answer = ipc::schema::SpawnerAnswer::Builder;
  using Slot = std::optional<sandbox::ChildProcess>;

  struct Card {
    std::vector<std::string> passt;       // none: it has another way out
    std::unique_ptr<PasstSocket> socket;  // of the passt that was started last,
    std::size_t slot = 0;                 // here
    std::string cable;                    // none: it has another way out
    bool listens = false;                 // the cable's path is our socket
  };

  ipc::Result<Descriptors> set_up(ipc::Frame& request, Answer answer);
  ipc::Result<> bind(ipc::schema::SpawnerSetup::Reader setup, std::vector<ipc::UniqueFd>& fds);
  ipc::Result<Descriptors> make_folder(ipc::schema::SpawnerSetup::Reader setup);
  ipc::Result<> make_cgroup(ipc::schema::SpawnerSetup::Reader setup);
  ipc::Result<Descriptors> act(ipc::Frame& request, Answer answer);
  ipc::Result<sandbox::ChildProcess> start(ipc::schema::ProcessStart::Reader order, std::vector<ipc::UniqueFd>& fds);
  ipc::Result<Slot*> slot(std::size_t number);
  ipc::Result<Card*> card(std::size_t number);
  ipc::Result<ipc::UniqueFd> plug(Card& card, Answer answer);
  ipc::Result<ipc::UniqueFd> reach_passt(Card& card);
  static void unplug(Card& card);

  const pid_t monitor_ = ::getppid();  // as long as it lives; identities are of it
  bool sealed_ = false;
  ipc::Frame setup_;                     // `setup`'s, until we are sealed
  std::vector<ipc::UniqueFd> programs_;  // by ProcessStart.Program, as far as they are there
  std::vector<std::string> back_ends_;
  std::vector<Card> cards_;
  // In this order: who has the folder has the machine's name, and with it the cgroup.
  std::unique_ptr<ControlFolder> folder_;
  std::optional<sandbox::Cgroup> cgroup_;
  std::array<Slot, sandbox::kMonitorIdentity> slots_;
};

}  // namespace spawner
