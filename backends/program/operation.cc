#include "backends/program/operation.h"

#include "backends/program/isolation.h"
#include "ipc/clock.h"

namespace program {

using ipc::Result;

Operation::Operation(std::unique_ptr<Product> product, const limits::Limits& limits)
    : product_(std::move(product)),
      started_ns_(ipc::monotonic_ns()),
      limits_(limits),
      limiter_(limits, ipc::monotonic_ns()) {}

Result<std::unique_ptr<serve::Device>> Operation::make_device() {
  telemetry_ = TRY(product_->make_telemetry());
  return product_->make_device(limiter_, *telemetry_);
}

void Operation::begin(serve::Server& server, std::vector<sandbox::Layer> layers) {
  server_ = &server;
  layers_ = std::move(layers);
}

Result<> Operation::watch(ipc::EventLoop& events) {
  return product_->watch(events, [this](const auto& change) { return server_->reconfigure(change); });
}

void Operation::connected(bool yes) {
  connected_ = yes;
  if (yes) ++connections_;
  product_->connected(yes);
}

Result<> Operation::refresh() {
  return server_->reconfigure([this] { return product_->refresh(); });
}

void Operation::describe(ipc::schema::BackendStatus::Builder status) const {
  status.setVersion(BULKHEAD_VERSION);
  status.setUptimeMs((ipc::monotonic_ns() - started_ns_) / 1'000'000);
  status.setHow(server_->describe());
  status.setConnected(connected_);
  status.setConnections(connections_);
  status.setInForce(list_layers(layers_, true));
  status.setNotInForce(list_layers(layers_, false));
  product_->describe(status);
}

void Operation::set_limits(const limits::Limits& limits) {
  limits_ = limits;
  limiter_.set(limits, ipc::monotonic_ns());
}

Result<> Operation::change(ipc::schema::ControlRequest::Reader request) {
  return server_->reconfigure([&] { return product_->change(request); });
}

}  // namespace program
