#include "backends/serve/server.h"

#include "backends/serve/log.h"

namespace serve {

using ipc::Result;

Server::Server(std::unique_ptr<Device> device, virtio::Sealing sealing)
    : device_(std::move(device)),
      sealing_(sealing),
      on_event_([this](const Event& event) { return on_event(event); }),
      is_control_([this](const Event& event) { return event.token.op == Op::Control && on_event(event); }) {}

Result<std::unique_ptr<Server>> Server::create(std::unique_ptr<Device> device, virtio::Sealing sealing,
                                               const ipc::UniqueFd& control) {
  std::unique_ptr<Server> server(new Server(std::move(device), sealing));
  if (control) {
    TRY(server->engine().set_file(index_of(FileSlot::Control), control));
    server->engine().poll(index_of(FileSlot::Control), {.op = Op::Control});
  }
  return server;
}

Result<> Server::seal(sandbox::Role role, const sandbox::Slots& slots) {
  Result<> sealed;
  groups().release_after([&](Group& group) {
    const auto filter = device_->filter(sandbox::Role::Worker, group, sandbox::Slots());
    const Result<> entered = filter ? filter->enter() : std::unexpected(filter.error());
    if (!entered) sealed = entered;
  });
  TRY(std::move(sealed));
  const auto filter = TRY(device_->filter(role, groups().main(), slots));
  return filter.enter();
}

std::string Server::describe() const {
  const std::size_t threads = groups().threads();
  return fmt::format("{}, {} thread{}", device_->describe(), threads, threads == 1 ? "" : "s");
}

Result<Server::Ended> Server::run(ipc::UniqueFd front_end) {
  TRY(engine().set_file(index_of(FileSlot::FrontEnd), front_end));
  connection_ = std::make_unique<Connection>(std::move(front_end), *device_, sealing_);
  ended_ = {};
  running_ = true;
  message_waits_ = false;
  lines_logged_ = 0;
  listen();
  while (running_) TRY(round());
  TRY(settle());
  engine().clear_file(index_of(FileSlot::FrontEnd));
  connection_.reset();
  return std::move(ended_);
}

Result<> Server::reconfigure(const std::function<Result<bool>()>& change) {
  const Groups::Pause pause(groups());
  if (!TRY(change()) || !connection_) return {};
  return connection_->session.config_changed();
}

// One look at everything, then a message. One may ask for rest: it does not have to wait for what has not begun.
Result<> Server::round() {
  const bool holding = connection_->session.holding();
  TRY(groups().main().round(holding, on_event_));
  if (std::exchange(device_waits_, false)) {
    // Where the front end cannot be told, that is its loss.
    const auto attended = reconfigure([this] { return device_->attend(); });
    if (!attended) log("the device: " + ipc::describe(attended.error()));
  }
  if (holding || message_waits_) converse();
  return {};
}

// Nothing new is taken; what is in flight completes before memory is unmapped beneath it.
Result<> Server::settle() {
  Groups::Pause(groups()).set_closed(true);
  while (true) {
    {
      Groups::Pause pause(groups());
      if (connection_->session.at_rest()) {
        connection_->session.end();
        device_->forget_front_end();
        pause.set_closed(false);
        return {};
      }
    }
    TRY(groups().main().round(true, is_control_));
  }
}

void Server::listen() {
  engine().poll(index_of(FileSlot::FrontEnd), {.op = Op::FrontEnd});
}

// False: no new requests before a message was looked at.
bool Server::on_event(const Event& event) {
  switch (event.token.op) {
    case Op::FrontEnd:
      message_waits_ = true;
      return false;
    case Op::Control:
      if (go_on_ && go_on_()) {
        engine().poll(index_of(FileSlot::Control), {.op = Op::Control});
        return true;
      }
      ended_.asked = true;
      running_ = false;
      return false;
    case Op::Wake:
      if (!event.more) engine().watch(index_of(FileSlot::Wake), event.token);
      return true;
    case Op::Own:
      device_waits_ = true;
      return true;
    case Op::Kick:
    case Op::Io:
    case Op::Ignored:
      return true;
  }
  return true;
}

// One message for each readiness, so that a flood of them leaves time for requests.
void Server::converse() {
  message_waits_ = false;
  Groups::Pause pause(groups());
  auto handled = [this]() -> Result<> {
    if (connection_->session.holding()) return connection_->session.resume();
    auto message = TRY(connection_->socket.receive());
    return message ? connection_->session.handle(std::move(*message)) : Result<>();
  }();
  log_refusal();
  pause.set_closed(connection_->session.holding());
  if (handled) {
    if (!connection_->session.holding()) listen();
    return;
  }
  running_ = false;
  if (handled.error().code != EPIPE) ended_.broken = std::move(handled).error();  // EPIPE: it hung up, as it may
}

void Server::log_refusal() {
  if (const auto refusal = connection_->session.take_refusal()) log("refused: " + ipc::describe(*refusal));
}

void Server::log(const std::string& line) {
  constexpr unsigned kMostLogged = 32;  // a front end cannot flood the log
  if (lines_logged_ == kMostLogged) return;
  ++lines_logged_;
  say(line);
}

}  // namespace serve
