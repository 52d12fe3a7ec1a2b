#include "backends/blk/server.h"

#include <cstdio>

namespace blk {

using ipc::Result;

Result<std::unique_ptr<Server>> Server::create(std::unique_ptr<Engine> engine, Storage storage, const Options& options,
                                               ipc::UniqueFd front_end, const ipc::UniqueFd& control) {
  auto device = TRY(Device::create(std::move(storage), *engine, options));
  TRY(engine->set_file(index_of(FileSlot::FrontEnd), front_end));
  if (control) {
    TRY(engine->set_file(index_of(FileSlot::Control), control));
    engine->poll(index_of(FileSlot::Control), {.op = Op::Control});
  }
  std::unique_ptr<Server> server(new Server(std::move(engine), std::move(device), std::move(front_end)));
  server->listen();
  return server;
}

Result<> Server::run() {
  while (running_) TRY(round());
  TRY(settle());
  return std::move(outcome_);
}

// One look at everything: completions, new chains, one publication, then a message.
Result<> Server::round() {
  const bool block = session_.holding() || !device_->work_waits();
  TRY(engine_->wait(block, [this](Token token, Completion completion) { dispatch(token, completion); }));
  // A message may ask for rest: it does not have to wait for what has not begun.
  if (!session_.holding() && !message_waits_) device_->serve();
  device_->publish();
  if (session_.holding() || message_waits_) converse();
  return {};
}

// Nothing new is taken; what is in flight completes before memory is unmapped beneath it.
Result<> Server::settle() {
  while (!session_.at_rest()) {
    TRY(engine_->wait(true, [this](Token token, Completion completion) {
      if (token.op == Op::DiskIo) device_->on_disk_io(token, completion);
    }));
    device_->publish();
  }
  session_.end();
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
      running_ = false;  // the monitor has nothing more to say: it is gone
      return;
    case Op::Ignored:
      return;
  }
}

// One message for each readiness, so that a flood of them leaves time for requests.
void Server::converse() {
  message_waits_ = false;
  auto handled = [this]() -> Result<> {
    if (session_.holding()) return session_.resume();
    auto message = TRY(socket_.receive());
    return message ? session_.handle(std::move(*message)) : Result<>();
  }();
  log_refusal();
  if (handled) {
    if (!session_.holding()) listen();
    return;
  }
  running_ = false;
  if (handled.error().code != EPIPE) outcome_ = std::move(handled);  // EPIPE: it hung up, as it may
}

void Server::log_refusal() {
  constexpr unsigned kMostLogged = 32;  // a front end cannot flood the log
  const auto refusal = session_.take_refusal();
  if (!refusal || refusals_logged_ == kMostLogged) return;
  ++refusals_logged_;
  fmt::print(stderr, "bulkhead-blk: refused: {}\n", ipc::describe(*refusal));
}

}  // namespace blk
