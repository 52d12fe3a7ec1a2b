#include "backends/net/card_product.h"

#include "backends/net/open_links.h"
#include "backends/net/policy_message.h"
#include "backends/net/policy_options.h"
#include "backends/net/stats_view.h"
#include "backends/program/control_client.h"
#include "backends/serve/log.h"

namespace net {

using ipc::Result;
namespace schema = ipc::schema;

namespace {

std::string status_table(schema::BackendStatus::Reader status) {
  const auto network = status.getNetwork();
  return fmt::format("card          {}, link {}\nway out       {}\npolicy        {}\n",
                     program::printable(network.getMac()), network.getLinkUp() ? "up" : "down",
                     program::printable(network.getWay()), program::printable(network.getPolicy()));
}

std::string status_json(schema::BackendStatus::Reader status) {
  const auto network = status.getNetwork();
  const auto text = [](auto value) { return program::quoted(program::printable(value)); };
  return fmt::format(R"("mac": {}, "link_up": {}, "way": {}, "policy": {})", text(network.getMac()),
                     network.getLinkUp(), text(network.getWay()), text(network.getPolicy()));
}

}  // namespace

Result<telemetry::Segment> CardProduct::make_telemetry() const {
  return telemetry::Segment::create({}, shown_.options.rings(), kCounterNames);
}

Result<std::unique_ptr<serve::Device>> CardProduct::make_device(limits::Limiter& limiter,
                                                                const telemetry::Segment& telemetry) {
  Options options = shown_.options;
  options.limiter = &limiter;
  options.telemetry = &telemetry;
  auto device = TRY(Device::create(std::exchange(links_, {}), shown_.abilities, options));
  device->on_link_lost([this] { lost(); });
  device_ = device.get();
  TRY(await_end());
  return device;
}

void CardProduct::lost() {
  if (redialler_) redialler_->ask();
  shown_.lost();
}

Result<> CardProduct::watch(ipc::EventLoop& events, Reconfigure reconfigure) {
  if (!redialler_) return {};
  events_ = &events;
  reconfigure_ = std::move(reconfigure);
  return events.watch(redialler_->line(), [this] {
    const auto linked = relink();
    if (linked) return serve::say("the other end is back: the link is up");
    events_->unwatch(redialler_->line());
    serve::say(ipc::describe(linked.error()));
  });
}

Result<> CardProduct::relink() {
  std::vector<std::unique_ptr<Link>> links;
  links.push_back(TRY(redialler_->link()));
  TRY(reconfigure_([&] { return device_->set_links(std::move(links)); }));
  return connected_ ? Result<>() : await_end();
}

// While a front end is there the link's end is behind its last frame. Otherwise nobody reads them, and they go with it.
Result<> CardProduct::await_end() {
  const auto& links = device_->card().links;
  if (events_ == nullptr || links.empty()) return {};
  return events_->watch_end(links.front()->file(), [this] {
    events_->unwatch(device_->card().links.front()->file());
    const auto unlinked = reconfigure_([this] { return device_->set_links({}); });
    if (!unlinked) serve::say(ipc::describe(unlinked.error()));
    lost();
  });
}

void CardProduct::connected(bool yes) {
  connected_ = yes;
  if (events_ == nullptr || device_->card().links.empty()) return;
  if (yes) return events_->unwatch(device_->card().links.front()->file());
  if (const auto awaited = await_end(); !awaited) serve::say(ipc::describe(awaited.error()));
}

std::string CardProduct::describe() const {
  return fmt::format("{} as {}, policy: {}", shown_.way, to_text(shown_.options.mac),
                     net::describe(shown_.options.policy));
}

void CardProduct::describe(schema::BackendStatus::Builder status) const {
  const Card& card = device_->card();
  auto network = status.initNetwork();
  network.setMac(to_text(card.control.mac()));
  network.setLinkUp(card.link_up());
  network.setWay(shown_.way);
  network.setPolicy(net::describe(card.guard.policy()));
}

Result<bool> CardProduct::change(schema::ControlRequest::Reader request) {
  if (request.isSetLink()) return device_->plug(request.getSetLink());
  if (!request.isSetPolicy()) return ipc::failure(EOPNOTSUPP, "unknown request");
  device_->set_policy(TRY(read_policy(request.getSetPolicy())));
  return false;
}

Result<std::unique_ptr<program::Product>> open_card(const CommandLine& command) {
  auto links = TRY(open_links(command));
  std::optional<Redialler> redialler;
  if (command.way == Way::StreamPath || command.way == Way::CablePath)
    redialler = TRY(Redialler::start(command.name, command.way == Way::CablePath));
  return std::make_unique<CardProduct>(
      ShownCard{.options = command.options,
                .abilities = abilities_of(command.way),
                .way = describe(command),
                .lost = [] { serve::say("the other end has gone: the link is down"); }},
      std::move(links), std::move(redialler));
}

program::Commands card_commands() {
  auto state = std::make_shared<std::string>();
  const program::Command link{
      .name = "link",
      .description = "Puts the card's cable in, or pulls it out. The guest is told.",
      .add_options =
          [state](CLI::App& app) {
            app.add_option("STATE", *state, "up or down")->required()->check(CLI::IsMember({"up", "down"}));
          },
      .fill = [state](schema::ControlRequest::Builder request) -> Result<> {
        request.setSetLink(*state == "up");
        return {};
      }};
  auto options = std::make_shared<PolicyOptions>();
  const program::Command policy{.name = "policy",
                                .description = "Changes what the card lets pass. What no option names is let pass.",
                                .add_options = [options](CLI::App& app) { add_policy_options(app, *options); },
                                .fill = [options](schema::ControlRequest::Builder request) -> Result<> {
                                  const auto checked = policy_of(*options);
                                  if (!checked) return ipc::failure(0, checked.error());
                                  write_policy(*checked, request.initSetPolicy());
                                  return {};
                                }};
  return {.limits = kLimitKinds,
          .table = table,
          .json = json,
          .status_table = status_table,
          .status_json = status_json,
          .more = {link, policy}};
}

}  // namespace net
