// One child of the monitor: its process, its control socket, its log.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "ipc/control_channel.h"
#include "ipc/event_loop.h"
#include "monitor/child_log.h"
#include "monitor/spawner.h"

namespace monitor {

class Child {
 public:
  // Told from the event loop, in this order: every frame, then the end.
  struct Listener {
    std::function<void(ipc::Frame frame)> said;
    std::function<void(const ipc::Error& error)> broke_protocol;
    std::function<void(const sandbox::Exit& exit)> ended;
  };

  // `name` goes into messages: "blk0". `loop` and `spawner` are borrowed.
  static ipc::Result<std::unique_ptr<Child>> start(ipc::EventLoop& loop, Spawner& spawner, const std::string& machine,
                                                   std::string name, const Spawner::Order& order, Listener listener);
  ~Child();  // the process is gone afterwards
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  const std::string& name() const { return name_; }
  pid_t pid() const { return process_->pid(); }
  void kill() { process_->kill(); }  // it ends, and the listener is told
  ipc::Result<> send(capnp::MessageBuilder& message, std::span<const int> fds = {}) {
    return channel_.send(message, fds);
  }

 private:
  Child(ipc::EventLoop& loop, const std::string& machine, std::string name, Listener listener);
  void receive();
  void reap();

  ipc::EventLoop& loop_;
  std::string name_;
  Listener listener_;
  ipc::ControlChannel channel_;
  ChildLog log_;
  std::optional<Spawner::Process> process_;
  bool listening_ = false;  // the control socket is watched
  bool watching_ = false;   // the process is
};

}  // namespace monitor
