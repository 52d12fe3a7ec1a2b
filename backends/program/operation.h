// A device at work, as operators see and change it: the part that a back end by itself and a machine's have in common.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "backends/limits/limiter.h"
#include "backends/program/control_server.h"
#include "backends/program/product.h"
#include "backends/serve/server.h"
#include "backends/telemetry/segment.h"
#include "sandbox/seal.h"

namespace program {

class Operation final : public Controlled {
 public:
  Operation(std::unique_ptr<Product> product, const limits::Limits& limits);

  // When everything was given up but filters, in this order. The device is to be served by the thread that calls this.
  ipc::Result<std::unique_ptr<serve::Device>> make_device();
  // `server` is borrowed, and has that device.
  void begin(serve::Server& server, std::vector<sandbox::Layer> layers);
  // Before the filters: what the product waits for is part of `events`, whose callbacks come after begin().
  ipc::Result<> watch(ipc::EventLoop& events);

  void connected(bool yes);  // a front end has come, or gone
  std::string describe() const { return product_->describe(); }
  ipc::Result<> refresh();  // SIGHUP

  const ipc::UniqueFd& telemetry() const override { return telemetry_->file(); }
  void describe(ipc::schema::BackendStatus::Builder status) const override;
  limits::Limits limits() const override { return limits_; }
  void set_limits(const limits::Limits& limits) override;
  ipc::Result<> change(ipc::schema::ControlRequest::Reader request) override;

 private:
  std::unique_ptr<Product> product_;
  const std::uint64_t started_ns_;
  limits::Limits limits_;
  limits::Limiter limiter_;
  std::optional<telemetry::Segment> telemetry_;
  serve::Server* server_ = nullptr;
  std::vector<sandbox::Layer> layers_;
  std::uint64_t connections_ = 0;
  bool connected_ = false;
};

}  // namespace program
