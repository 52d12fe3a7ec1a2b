#include "backends/program/control_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include "backends/serve/log.h"
#include "ipc/clock.h"

namespace program {
namespace {

using ipc::Result;
namespace schema = ipc::schema;

constexpr unsigned kMostLogged = 32;  // a client cannot flood the log
constexpr std::uint64_t kNotGiven = ~std::uint64_t{0};

void change(limits::Rate& rate, schema::Rate::Reader asked) {
  if (asked.getPerSecond() != kNotGiven) rate.per_second = asked.getPerSecond();
  if (asked.getBurst() != kNotGiven) rate.burst = asked.getBurst();
}

void change(limits::Limits::Rates& rates, schema::Rates::Reader asked) {
  change(rates.read, asked.getRead());
  change(rates.write, asked.getWrite());
  change(rates.total, asked.getTotal());
}

void tell(schema::Rate::Builder told, const limits::Rate& rate) {
  told.setPerSecond(rate.per_second);
  told.setBurst(rate.burst);
}

void tell(schema::Rates::Builder told, const limits::Limits::Rates& rates) {
  tell(told.initRead(), rates.read);
  tell(told.initWrite(), rates.write);
  tell(told.initTotal(), rates.total);
}

}  // namespace

ControlServer::ControlServer(Listener& listener, ipc::EventLoop& loop, Controlled& target)
    : listener_(listener),
      loop_(loop),
      target_(target),
      own_uid_(::geteuid()),
      requests_({.per_second = kRequestsPerSecond, .burst = kRequestsPerSecond}, ipc::monotonic_ns()) {}

Result<std::unique_ptr<ControlServer>> ControlServer::create(Listener& listener, ipc::EventLoop& loop,
                                                             Controlled& target) {
  std::unique_ptr<ControlServer> server(new ControlServer(listener, loop, target));
  TRY(loop.watch(listener.socket(), [server = server.get()] { server->admit(); }));
  return server;
}

void ControlServer::admit() {
  auto connection = listener_.accept();
  auto admitted = !connection    ? Result<>(std::unexpected(std::move(connection).error()))
                  : !*connection ? Result<>()
                                 : try_admit(std::move(**connection));
  if (!admitted) log(ipc::describe(admitted.error()));
}

Result<> ControlServer::try_admit(ipc::UniqueFd connection) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return ipc::system_failure("who connects");
  // In a user namespace of our own every uid looks like ours: there the socket's mode (listener.cc) alone keeps
  // others out.
  if (peer.uid != 0 && peer.uid != own_uid_)
    return ipc::failure(EACCES, fmt::format("connection of uid {} refused", peer.uid));
  if (too_many() || clients_.size() == kMaxClients) return ipc::failure(EBUSY, "connection refused");
  const Client client = clients_.insert(clients_.end(), ipc::ControlChannel(std::move(connection)));
  auto watched = loop_.watch(client->socket(), [this, client] { serve(client); });
  if (!watched) clients_.erase(client);
  return watched;
}

bool ControlServer::too_many() {
  const std::uint64_t now = ipc::monotonic_ns();
  if (requests_.wait(now) != 0) return true;
  requests_.take(1, now);
  return false;
}

void ControlServer::serve(Client client) {
  const auto answered = answer(*client);
  if (answered) return;
  const int code = answered.error().code;
  if (code != EPIPE && code != ECONNRESET) log(ipc::describe(answered.error()));  // else it has gone, as it may
  loop_.unwatch(client->socket());
  clients_.erase(client);
}

Result<> ControlServer::answer(ipc::ControlChannel& client) {
  auto received = client.receive(false);
  if (!received && received.error().code == EAGAIN) return {};
  auto frame = TRY(std::move(received));
  if (!frame) return ipc::failure(EPIPE, "closed");
  if (too_many()) return ipc::failure(EBUSY, "connection closed: it asks too often");
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::ControlAnswer>();
  TRY(ipc::guarded([&]() -> Result<> {
    reply(frame->root<schema::ControlRequest>(), answer);
    return {};
  }));
  const int file = target_.telemetry().get();
  return client.send(message, answer.isTelemetry() ? std::span(&file, 1) : std::span<const int>());
}

void ControlServer::reply(schema::ControlRequest::Reader request, schema::ControlAnswer::Builder answer) {
  const auto end = [&](const Result<>& result) {
    if (result) return answer.setDone();
    answer.setFailed(ipc::describe(result.error()));
  };
  switch (request.which()) {
    case schema::ControlRequest::TELEMETRY:
      return answer.setTelemetry();
    case schema::ControlRequest::STATUS: {
      auto status = answer.initStatus();
      target_.describe(status);
      const limits::Limits now = target_.limits();
      auto told = status.initLimits();
      tell(told.initOperations(), now.operations);
      tell(told.initBytes(), now.bytes);
      return;
    }
    case schema::ControlRequest::SET_LIMITS: {
      limits::Limits limits = target_.limits();
      change(limits.operations, request.getSetLimits().getOperations());
      change(limits.bytes, request.getSetLimits().getBytes());
      target_.set_limits(limits);
      return end({});
    }
    default:  // of one kind of device, or of a later version
      return end(target_.change(request));
  }
}

void ControlServer::log(const std::string& line) {
  if (lines_logged_ == kMostLogged) return;
  ++lines_logged_;
  serve::say("control: " + line);
}

}  // namespace program
