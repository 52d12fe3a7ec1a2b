// One device for one front end at a time: what its main thread does until the front end, or who started it, goes.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "backends/serve/device.h"
#include "backends/virtio/session.h"

namespace serve {

class Server {
 public:
  // How the service of a front end ended, with nothing in flight.
  struct Ended {
    bool asked = false;                // by the control descriptor; otherwise the front end went, or:
    std::optional<ipc::Error> broken;  // it broke the protocol
  };

  // To be run by the thread that made `device`. Nothing is allocated for it later but sessions and memory tables.
  // `control` may be empty. An error: the engine has no room.
  static ipc::Result<std::unique_ptr<Server>> create(std::unique_ptr<Device> device, virtio::Sealing sealing,
                                                     const ipc::UniqueFd& control);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Every thread enters its filter; the calling one that of `role`. `slots` has what `role` needs beside what the
  // device uses.
  ipc::Result<> seal(sandbox::Role role, const sandbox::Slots& slots);

  // How requests are carried out, for people: "io_uring, direct I/O, 2 threads".
  std::string describe() const;

  // What to do when the control descriptor becomes readable or hangs up: true goes on. Without it the
  // server ends then.
  void on_control(std::function<bool()> go_on) { go_on_ = std::move(go_on); }

  // Has `change` change the device while no thread serves it. True: the configuration space has changed, which
  // the front end is told.
  ipc::Result<> reconfigure(const std::function<ipc::Result<bool>()>& change);

  // Serves `front_end`, a connected vhost-user socket, until it closes its connection, breaks the
  // protocol, or the control descriptor ends it. May be called again, with no state left of the last
  // one. An error: the engine cannot go on.
  ipc::Result<Ended> run(ipc::UniqueFd front_end);

 private:
  struct Connection {
    Connection(ipc::UniqueFd front_end, Device& device, virtio::Sealing sealing)
        : socket(std::move(front_end)), session(socket, device, sealing) {}
    ipc::vhost_user::Socket socket;
    virtio::Session session;
  };

  Server(std::unique_ptr<Device> device, virtio::Sealing sealing);
  Groups& groups() const { return device_->groups(); }
  Engine& engine() { return groups().main().engine(); }
  void listen();
  bool on_event(const Event& event);
  void converse();
  ipc::Result<> round();
  ipc::Result<> settle();
  void log_refusal();
  void log(const std::string& line);

  std::unique_ptr<Device> device_;
  virtio::Sealing sealing_;
  OtherEvents on_event_;    // all of them
  OtherEvents is_control_;  // those of the control descriptor alone
  std::function<bool()> go_on_;
  std::unique_ptr<Connection> connection_;
  bool running_ = true;
  bool message_waits_ = false;
  bool device_waits_ = false;
  Ended ended_;
  unsigned lines_logged_ = 0;
};

}  // namespace serve
