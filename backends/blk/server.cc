#include "backends/blk/server.h"

#include <cstdio>

namespace blk {

using ipc::Result;

namespace {

sandbox::BlkIo io_of(QueueGroup& group) {
  if (!group.engine().is_ring()) return sandbox::BlkIo::Calls;
  return group.plain_store() ? sandbox::BlkIo::RingAndCalls : sandbox::BlkIo::Ring;
}

Result<sandbox::Filter> compile(sandbox::BlkRole role, QueueGroup& group, const Storage& storage,
                                sandbox::Slots slots) {
  slots.set(sandbox::Slot::Ring, group.engine().fd());
  slots.set(sandbox::Slot::Image, storage.file()).set(sandbox::Slot::Unaligned, storage.buffered_file());
  return sandbox::Filter::compile(sandbox::blk_policy(role, io_of(group)), slots);
}

}  // namespace

Result<std::unique_ptr<Server>> Server::create(Storage storage, const Options& options, const ipc::UniqueFd& control) {
  auto device = TRY(Device::create(std::move(storage), options));
  Engine& engine = device->main_group().engine();
  if (control) {
    TRY(engine.set_file(index_of(FileSlot::Control), control));
    engine.poll(index_of(FileSlot::Control), {.op = Op::Control});
  }
  return std::unique_ptr<Server>(new Server(std::move(device), options.sealing));
}

Result<> Server::seal(sandbox::BlkRole role, sandbox::Slots slots) {
  for (const auto& worker : device_->workers()) {
    Result<> sealed;
    worker->call([&](QueueGroup& group) {
      sealed = [&]() -> Result<> {
        const auto filter = TRY(compile(sandbox::BlkRole::Worker, group, device_->storage(), sandbox::Slots()));
        return filter.enter();
      }();
    });
    TRY(std::move(sealed));
    worker->release();
  }
  const auto filter = TRY(compile(role, device_->main_group(), device_->storage(), slots));
  return filter.enter();
}

std::string Server::describe() const {
  QueueGroup& group = device_->main_group();
  const bool null = device_->storage().kind() == Storage::Kind::Null;
  return fmt::format("{}{}, {}, {} thread{}", group.engine().is_ring() ? "io_uring" : "epoll",
                     group.plain_store() ? " and plain calls" : "",
                     null                          ? "no disk at all"
                     : device_->storage().direct() ? "direct I/O"
                                                   : "page cache",
                     device_->workers().size() + 1, device_->workers().empty() ? "" : "s");
}

Result<Server::Ended> Server::run(ipc::UniqueFd front_end) {
  TRY(engine().set_file(index_of(FileSlot::FrontEnd), front_end));
  connection_ = std::make_unique<Connection>(std::move(front_end), *device_, sealing_);
  ended_ = {};
  running_ = true;
  message_waits_ = false;
  refusals_logged_ = 0;
  listen();
  while (running_) TRY(round());
  TRY(settle());
  engine().clear_file(index_of(FileSlot::FrontEnd));
  connection_.reset();
  return std::move(ended_);
}

Result<> Server::grow() {
  Device::Pause pause(*device_);
  if (!TRY(pause.grow()) || !connection_) return {};
  return connection_->session.config_changed();
}

// One look at everything, then a message. One may ask for rest: it does not have to wait for what has not begun.
Result<> Server::round() {
  const bool holding = connection_->session.holding();
  TRY(device_->main_group().round(holding, [this](const Event& event) { return on_event(event); }));
  if (holding || message_waits_) converse();
  return {};
}

// Nothing new is taken; what is in flight completes before memory is unmapped beneath it.
Result<> Server::settle() {
  const auto is_control = [this](const Event& event) { return event.token.op == Op::Control && on_event(event); };
  Device::Pause(*device_).set_closed(true);
  while (true) {
    {
      Device::Pause pause(*device_);
      if (connection_->session.at_rest()) {
        connection_->session.end();
        device_->forget_front_end();
        pause.set_closed(false);
        return {};
      }
    }
    TRY(device_->main_group().round(true, is_control));
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
    case Op::Kick:
    case Op::DiskIo:
    case Op::Ignored:
      return true;
  }
  return true;
}

// One message for each readiness, so that a flood of them leaves time for requests.
void Server::converse() {
  message_waits_ = false;
  Device::Pause pause(*device_);
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
  constexpr unsigned kMostLogged = 32;  // a front end cannot flood the log
  const auto refusal = connection_->session.take_refusal();
  if (!refusal || refusals_logged_ == kMostLogged) return;
  ++refusals_logged_;
  fmt::print(stderr, "bulkhead-blk: refused: {}\n", ipc::describe(*refusal));
}

}  // namespace blk
