// One block device for one front end: what its thread does until either the front end or the monitor goes.
#pragma once

#include <memory>

#include "backends/blk/device.h"
#include "backends/blk/engine.h"
#include "backends/virtio/session.h"
#include "ipc/control_channel.h"

namespace blk {

class Server {
 public:
  // Sets everything up; nothing is allocated for it later but memory tables. To be run by the thread
  // that made `engine` and calls this. `front_end` is a connected vhost-user socket; `control`, whose end also ends
  // the server, may be empty.
  static ipc::Result<std::unique_ptr<Server>> create(std::unique_ptr<Engine> engine, Storage storage,
                                                     const Options& options, ipc::UniqueFd front_end,
                                                     const ipc::UniqueFd& control);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  const ipc::UniqueFd& ring() const { return engine_->fd(); }

  // Serves until the front end closes its connection or the control socket says anything or closes.
  // Requests in flight have completed when it returns. An error: the front end broke the protocol, or
  // the engine cannot go on.
  ipc::Result<> run();

 private:
  Server(std::unique_ptr<Engine> engine, std::unique_ptr<Device> device, ipc::UniqueFd front_end)
      : engine_(std::move(engine)), device_(std::move(device)), socket_(std::move(front_end)) {}
  void listen();
  void dispatch(Token token, Completion completion);
  void converse();
  ipc::Result<> round();
  ipc::Result<> settle();
  void log_refusal();

  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Device> device_;
  ipc::vhost_user::Socket socket_;
  virtio::Session session_{socket_, *device_};
  bool running_ = true;
  bool message_waits_ = false;
  ipc::Result<> outcome_;
  unsigned refusals_logged_ = 0;
};

}  // namespace blk
