// What one standalone back end serves: the part of such a program that is its own.
#pragma once

#include <memory>
#include <string>

#include "backends/limits/limiter.h"
#include "backends/program/common_options.h"
#include "backends/serve/device.h"
#include "backends/telemetry/segment.h"
#include "ipc/event_loop.h"
#include "ipc/schema/backend_control.capnp.h"

namespace program {

// Made with everything open that takes a name or a right of ours to be opened.
class Product {
 public:
  virtual ~Product() = default;

  // Before anything is given up: a segment for what it counts.
  virtual ipc::Result<telemetry::Segment> make_telemetry() const = 0;
  // After everything was given up but filters. To be served by the thread that calls this, and called once. Both
  // are borrowed, as this is by the device.
  virtual ipc::Result<std::unique_ptr<serve::Device>> make_device(limits::Limiter& limiter,
                                                                  const telemetry::Segment& telemetry) = 0;

  // What is served, for people: "disk.img, 2048 sectors".
  virtual std::string describe() const = 0;
  virtual void describe(ipc::schema::BackendStatus::Builder status) const = 0;

  // An operator's request that only this kind of device knows, or SIGHUP, which asks for refresh(). No thread serves
  // meanwhile. True if the configuration space has changed; EOPNOTSUPP for what it does not know.
  virtual ipc::Result<bool> change(ipc::schema::ControlRequest::Reader request) = 0;
  virtual ipc::Result<bool> refresh() = 0;

  // What else it waits for: it is called back when there is a device. `change` changes the device while no thread
  // serves it; true: the configuration space has changed.
  using Reconfigure = std::function<ipc::Result<>(const std::function<ipc::Result<bool>()>& change)>;
  virtual ipc::Result<> watch(ipc::EventLoop& /*events*/, Reconfigure /*reconfigure*/) { return {}; }
  // A front end has come, or gone.
  virtual void connected(bool /*yes*/) {}
};

}  // namespace program
