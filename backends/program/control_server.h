// What operators ask a running back end (ipc/schema/backend_control.capnp).
#pragma once

#include <memory>

#include "backends/limits/limiter.h"
#include "ipc/operators.h"
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

// Answers those who connect to `listener`, by ipc::Operators. All are borrowed and outlive it.
ipc::Result<std::unique_ptr<ipc::Operators>> serve_operators(const ipc::UniqueFd& listener, ipc::EventLoop& loop,
                                                             Controlled& target);

}  // namespace program
