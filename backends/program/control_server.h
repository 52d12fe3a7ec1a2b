// The socket that operators ask a running back end by (ipc/schema/backend_control.capnp).
#pragma once

#include <list>
#include <memory>

#include "backends/limits/limiter.h"
#include "backends/program/listener.h"
#include "ipc/control_channel.h"
#include "ipc/event_loop.h"
#include "ipc/schema/backend_control.capnp.h"

namespace program {

// What can be asked for. Called on the event loop's thread.
class Controlled {
 public:
  virtual ~Controlled() = default;
  virtual const ipc::UniqueFd& telemetry() const = 0;
  virtual void describe(ipc::schema::BackendStatus::Builder status) const = 0;
  virtual limits::Limits limits() const = 0;
  virtual void set_limits(const limits::Limits& limits) = 0;
  // What only some kinds of devices know: setLink, grow and so on. EOPNOTSUPP for others.
  virtual ipc::Result<> change(ipc::schema::ControlRequest::Reader request) = 0;
};

// Never waits for a client. Each round of the loop reads at most one message of each, and of all together not
// more than kRequestsPerSecond: who asks for more is disconnected.
class ControlServer {
 public:
  static constexpr std::size_t kMaxClients = 8;
  static constexpr std::uint64_t kRequestsPerSecond = 100;

  // After isolate(). All are borrowed and outlive this; `listener` is one for Purpose::Control.
  static ipc::Result<std::unique_ptr<ControlServer>> create(Listener& listener, ipc::EventLoop& loop,
                                                            Controlled& target);
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  using Client = std::list<ipc::ControlChannel>::iterator;

  ControlServer(Listener& listener, ipc::EventLoop& loop, Controlled& target);
  void admit();
  ipc::Result<> try_admit(ipc::UniqueFd connection);
  void serve(Client client);
  ipc::Result<> answer(ipc::ControlChannel& client);
  void reply(ipc::schema::ControlRequest::Reader request, ipc::schema::ControlAnswer::Builder answer);
  bool too_many();
  void log(const std::string& line);

  Listener& listener_;
  ipc::EventLoop& loop_;
  Controlled& target_;
  const unsigned own_uid_;
  std::list<ipc::ControlChannel> clients_;
  limits::TokenBucket requests_;
  unsigned lines_logged_ = 0;
};

}  // namespace program
