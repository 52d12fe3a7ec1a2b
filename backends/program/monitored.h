// A back end as a child of bulkhead-monitor.
#pragma once

#include <functional>
#include <memory>

#include "backends/program/product.h"
#include "ipc/control_channel.h"
#include "ipc/schema/control.capnp.h"

namespace program {

// What goes to the monitor when the device cannot be served.
struct SetupError {
  ipc::schema::Failure::Kind kind;
  ipc::Error error;
};
template <class T>
using Setup = std::expected<T, SetupError>;

template <class T>
Setup<T> as(ipc::schema::Failure::Kind kind, ipc::Result<T> result) {
  if (!result) return std::unexpected(SetupError{kind, std::move(result).error()});
  if constexpr (std::is_void_v<T>)
    return {};
  else
    return std::move(result).value();
}

// What the monitor says later, to be done while no thread serves. True: the configuration space has changed.
using Told = std::function<ipc::Result<bool>(ipc::Frame frame)>;

// What is to be served to one front end.
struct Assignment {
  std::unique_ptr<Product> product;
  ipc::UniqueFd front_end;
  ipc::UniqueFd operators;  // where they connect; empty: there are none
  Told told = {};           // empty: the monitor has nothing more to say, and ends us when it goes
};

// Makes what the monitor's first message asks for. `control` outlives the product.
using Accept = std::function<Setup<Assignment>(ipc::Frame frame, ipc::ControlChannel& control)>;

// Serves the device and the front end that come over the control socket, descriptor 3. The exit status:
// 0 when the front end or the monitor went, 1 on failure, 2 if there is no control socket.
int serve_monitor(const Accept& accept);

}  // namespace program
