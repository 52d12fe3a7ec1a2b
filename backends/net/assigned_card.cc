#include "backends/net/assigned_card.h"

#include <algorithm>

#include "backends/net/card_product.h"
#include "backends/net/policy_message.h"

namespace net {

using ipc::Result;
using program::as;
using FailureKind = ipc::schema::Failure::Kind;
namespace schema = ipc::schema;

namespace {

struct Asked {
  schema::NetworkSetup::Kind kind;
  Options options;
  Result<Policy> policy;
  std::string name;
  std::vector<ipc::UniqueFd> links;
  ipc::UniqueFd front_end;
  ipc::UniqueFd operators;
};

Result<Asked> parse(ipc::Frame frame) {
  return ipc::guarded([&]() -> Result<Asked> {
    const auto message = frame.root<schema::ToBackend>();
    if (!message.isNetwork()) return ipc::failure(EPROTO, "the monitor asked for a device that is no network card");
    const auto card = message.getNetwork();
    Asked asked{.kind = card.getKind(),
                .options = {},
                .policy = {},
                .name = card.getName().cStr(),
                .links = {},
                .front_end = {},
                .operators = {}};
    asked.options.mtu = card.getMtu();
    asked.options.pairs = card.getQueuePairs();
    const auto mac = card.getMac();
    if (mac.size() != asked.options.mac.bytes.size())
      return ipc::failure(EPROTO, "a MAC address of other than 6 bytes");
    std::ranges::copy(mac, asked.options.mac.bytes.begin());
    asked.policy = read_policy(card.getPolicy());  // the operator's, as he typed it
    const bool tap = card.getKind() == schema::NetworkSetup::Kind::TAP;
    const std::size_t first = card.getHasOperators() ? 2 : 1;
    if (frame.fds.size() < first || frame.fds.size() > first + (tap ? card.getQueuePairs() : 1u))
      return ipc::failure(EPROTO, fmt::format("{} descriptors came with the card", frame.fds.size()));
    asked.front_end = std::move(frame.fds[0]);
    if (card.getHasOperators()) asked.operators = std::move(frame.fds[1]);
    for (std::size_t i = first; i < frame.fds.size(); ++i) asked.links.push_back(std::move(frame.fds[i]));
    return asked;
  });
}

Result<std::vector<std::unique_ptr<Link>>> make_links(schema::NetworkSetup::Kind kind,
                                                      std::vector<ipc::UniqueFd> files) {
  std::vector<std::unique_ptr<Link>> links;
  for (ipc::UniqueFd& file : files) {
    if (kind == schema::NetworkSetup::Kind::TAP)
      links.push_back(TRY(make_tap_link(std::move(file))));
    else
      links.push_back(TRY(make_stream_link(std::move(file), kind == schema::NetworkSetup::Kind::CABLE)));
  }
  return links;
}

Abilities abilities_of(schema::NetworkSetup::Kind kind) {
  if (kind == schema::NetworkSetup::Kind::TAP) return Abilities::Kernel;
  return kind == schema::NetworkSetup::Kind::CABLE ? Abilities::Tcp : Abilities::Frames;
}

void say_link_lost(ipc::ControlChannel& control) {
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::FromBackend>().setLinkLost();
  static_cast<void>(control.send(message));  // a monitor that does not hear it is about to end us
}

// The monitor's only later message: another link in place of the one that was lost.
Result<bool> relink(Device& device, schema::NetworkSetup::Kind kind, ipc::Frame frame) {
  return ipc::guarded([&]() -> Result<bool> {
    if (!frame.root<schema::ToBackend>().isLink() || frame.fds.size() != 1)
      return ipc::failure(EPROTO, "it said something out of turn");
    return device.set_links(TRY(make_links(kind, std::move(frame.fds))));
  });
}

}  // namespace

program::Setup<program::Assignment> accept_card(ipc::Frame frame, ipc::ControlChannel& control) {
  Asked asked = TRY(as(FailureKind::INTERNAL, parse(std::move(frame))));
  asked.options.policy = TRY(as(FailureKind::CONFIGURATION, std::move(asked.policy)));
  auto links = TRY(as(FailureKind::HOST, make_links(asked.kind, std::move(asked.links))));
  auto product = std::make_unique<CardProduct>(ShownCard{.options = asked.options,
                                                         .abilities = abilities_of(asked.kind),
                                                         .way = asked.name,
                                                         .lost = [&control] { say_link_lost(control); }},
                                               std::move(links));
  auto told = [product = product.get(), links = asked.kind](ipc::Frame said) {
    return relink(product->device(), links, std::move(said));
  };
  return program::Assignment{.product = std::move(product),
                             .front_end = std::move(asked.front_end),
                             .operators = std::move(asked.operators),
                             .told = std::move(told)};
}

}  // namespace net
