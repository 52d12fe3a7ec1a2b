#include "backends/blk/server.h"

#include <cstdio>

namespace blk {

using ipc::Result;

Result<std::unique_ptr<Server>> Server::create(std::unique_ptr<Engine> engine, Storage storage, const Options& options,
                                               const ipc::UniqueFd& control) {
  auto device = TRY(Device::create(std::move(storage), *engine, options));
  if (control) {
    TRY(engine->set_file(index_of(FileSlot::Control), control));
    engine->poll(index_of(FileSlot::Control), {.op = Op::Control});
  }
  return std::unique_ptr<Server>(new Server(std::move(engine), std::move(device), options.sealing));
}

Result<Server::Ended> Server::run(ipc::UniqueFd front_end) {
  TRY(engine_->set_file(index_of(FileSlot::FrontEnd), front_end));
  connection_ = std::make_unique<Connection>(std::move(front_end), *device_, sealing_);
  ended_ = {};
  running_ = true;
  message_waits_ = false;
  refusals_logged_ = 0;
  listen();
  while (running_) TRY(round());
  TRY(settle());
  connection_.reset();
  engine_->clear_file(index_of(FileSlot::FrontEnd));
  return std::move(ended_);
}

Result<> Server::grow() {
  if (!TRY(device_->grow()) || !connection_) return {};
  return connection_->session.config_changed();
}

// One look at everything: completions, new chains, one publication, then a message.
Result<> Server::round() {
  const bool block = connection_->session.holding() || !device_->work_waits();
  TRY(engine_->wait(block, [this](Token token, Completion completion) { dispatch(token, completion); }));
  // A message may ask for rest: it does not have to wait for what has not begun.
  if (!connection_->session.holding() && !message_waits_) device_->serve();
  device_->publish();
  if (connection_->session.holding() || message_waits_) converse();
  return {};
}

// Nothing new is taken; what is in flight completes before memory is unmapped beneath it.
Result<> Server::settle() {
  while (!connection_->session.at_rest()) {
    TRY(engine_->wait(true, [this](Token token, Completion completion) {
      if (token.op == Op::DiskIo || token.op == Op::Control) dispatch(token, completion);
    }));
    device_->publish();
  }
  connection_->session.end();
  device_->accept(0);
  return {};
}

void Server::listen() {
  engine_->poll(index_of(FileSlot::FrontEnd), {.op = Op::FrontEnd});
}

void Server::dispatch(Token token, Completion completion) {
  switch (token.op) {
    case Op::Kick:
      return device_->on_kick(token, completion);
    case Op::DiskIo:
      return device_->on_disk_io(token, completion);
    case Op::FrontEnd:
      message_waits_ = true;
      return;
    case Op::Control:
      if (go_on_ && go_on_()) return engine_->poll(index_of(FileSlot::Control), {.op = Op::Control});
      ended_.asked = true;
      running_ = false;
      return;
    case Op::Ignored:
      return;
  }
}

// One message for each readiness, so that a flood of them leaves time for requests.
void Server::converse() {
  message_waits_ = false;
  auto handled = [this]() -> Result<> {
    if (connection_->session.holding()) return connection_->session.resume();
    auto message = TRY(connection_->socket.receive());
    return message ? connection_->session.handle(std::move(*message)) : Result<>();
  }();
  log_refusal();
  if (handled) {
    if (!connection_->session.holding()) listen();
    return;
  }
  running_ = false;
  if (handled.error().code != EPIPE) ended_.broken = std::move(handled).error();  // EPIPE: it hung up, as it may
}

void Server::log_refusal() {
  constexpr unsigned kMostLogged = 32;  // a front end cannot flood the log
  const auto refusal = connection_->session.take_refusal();
  if (!refusal || refusals_logged_ == kMostLogged) return;
  ++refusals_logged_;
  fmt::print(stderr, "bulkhead-blk: refused: {}\n", ipc::describe(*refusal));
}

}  // namespace blk
