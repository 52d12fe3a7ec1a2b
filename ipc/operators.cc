#include "ipc/operators.h"

#include <sys/socket.h>
#include <unistd.h>

#include "ipc/clock.h"

namespace ipc {
namespace {

constexpr unsigned kMostLogged = 32;  // a client cannot flood the log

}  // namespace

Operators::Operators(const UniqueFd& listener, EventLoop& loop, Handler handler)
    : listener_(listener), loop_(loop), handler_(std::move(handler)), own_uid_(::geteuid()) {}

Operators::~Operators() {
  loop_.unwatch(listener_);
  for (const ControlChannel& client : clients_) loop_.unwatch(client.socket());
}

Result<std::unique_ptr<Operators>> Operators::create(const UniqueFd& listener, EventLoop& loop, Handler handler) {
  std::unique_ptr<Operators> operators(new Operators(listener, loop, std::move(handler)));
  TRY(loop.watch(listener, [self = operators.get()] { self->admit(); }));
  return operators;
}

void Operators::admit() {
  UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!connection) return;  // it has gone again; want of a descriptor passes
  if (const auto admitted = try_admit(std::move(connection)); !admitted) log(describe(admitted.error()));
}

Result<> Operators::try_admit(UniqueFd connection) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return system_failure("who connects");
  // In a user namespace of our own every uid looks like ours: there the socket's mode alone keeps others out.
  if (peer.uid != 0 && peer.uid != own_uid_)
    return failure(EACCES, fmt::format("connection of uid {} refused", peer.uid));
  if (too_many() || clients_.size() == kMaxClients) return failure(EBUSY, "connection refused");
  const Client client = clients_.insert(clients_.end(), ControlChannel(std::move(connection)));
  auto watched = loop_.watch(client->socket(), [this, client] { serve(client); });
  if (!watched) clients_.erase(client);
  return watched;
}

bool Operators::too_many() {
  const std::uint64_t second = monotonic_ns() / 1'000'000'000;
  if (second != second_) requests_ = 0;
  second_ = second;
  return ++requests_ > kRequestsPerSecond;
}

void Operators::serve(Client client) {
  const auto answered = answer(*client);
  if (answered) return;
  const int code = answered.error().code;
  if (code != EPIPE && code != ECONNRESET) log(describe(answered.error()));  // else it has gone, as it may
  loop_.unwatch(client->socket());
  clients_.erase(client);
}

Result<> Operators::answer(ControlChannel& client) {
  auto received = client.receive(false);
  if (!received && received.error().code == EAGAIN) return {};
  auto frame = TRY(std::move(received));
  if (!frame) return failure(EPIPE, "closed");
  if (too_many()) return failure(EBUSY, "connection closed: it asks too often");
  return guarded([&] { return handler_.answer(*frame, client); });
}

void Operators::log(const std::string& line) {
  if (lines_logged_ == kMostLogged) return;
  ++lines_logged_;
  handler_.log("control: " + line);
}

}  // namespace ipc
