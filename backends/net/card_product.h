// The card that a standalone bulkhead-net serves.
#pragma once

#include "backends/net/command_line.h"
#include "backends/net/device.h"
#include "backends/net/redialler.h"
#include "backends/program/control_commands.h"
#include "backends/program/product.h"

namespace net {

// A card as it is shown to operators.
struct ShownCard {
  Options options;
  Abilities abilities;
  std::string way;             // where frames go, for people
  std::function<void()> lost;  // called when the other end has gone
};

class CardProduct final : public program::Product {
 public:
  // With a `redialler` a link that is lost is replaced by its next one.
  CardProduct(ShownCard card, std::vector<std::unique_ptr<Link>> links, std::optional<Redialler> redialler = {})
      : shown_(std::move(card)), links_(std::move(links)), redialler_(std::move(redialler)) {}

  ipc::Result<telemetry::Segment> make_telemetry() const override;
  ipc::Result<std::unique_ptr<serve::Device>> make_device(limits::Limiter& limiter,
                                                          const telemetry::Segment& telemetry) override;
  std::string describe() const override;
  void describe(ipc::schema::BackendStatus::Builder status) const override;
  ipc::Result<bool> change(ipc::schema::ControlRequest::Reader request) override;
  ipc::Result<bool> refresh() override { return false; }  // there is nothing that could have changed
  ipc::Result<> watch(ipc::EventLoop& events, Reconfigure reconfigure) override;
  void connected(bool yes) override;

  Device& device() { return *device_; }  // after make_device()

 private:
  ipc::Result<> await_end();
  ipc::Result<> relink();
  void lost();

  const ShownCard shown_;
  std::vector<std::unique_ptr<Link>> links_;  // until there is a device
  std::optional<Redialler> redialler_;
  // Of watch(), where there is a redialler.
  ipc::EventLoop* events_ = nullptr;
  Reconfigure reconfigure_;
  bool connected_ = false;
  Device* device_ = nullptr;  // whoever serves it owns it
};

// Opens the way out. Errors name it.
ipc::Result<std::unique_ptr<program::Product>> open_card(const CommandLine& command);

// How bulkhead-net shows itself to operators, and what they may ask of it.
program::Commands card_commands();

}  // namespace net
