#include "tests/support/scripted_back_end.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

namespace vcpu_host {

using ipc::vhost_user::ConfigHeader;
using ipc::vhost_user::Message;
using ipc::vhost_user::payload_of;
using ipc::vhost_user::VringState;

ScriptedBackEnd::ScriptedBackEnd() {
  begin_anew();
}

BackEndConnection ScriptedBackEnd::take_connection() {
  int ends[2] = {-1, -1};
  [[maybe_unused]] const int made = ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
  return {.socket = std::move(theirs_), .requests = ipc::UniqueFd(ends[0]), .requester = ipc::UniqueFd(ends[1])};
}

void ScriptedBackEnd::begin_anew() {
  requests_ = ipc::vhost_user::Socket();
  seen.clear();
  int ends[2] = {-1, -1};
  [[maybe_unused]] const int made = ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
  socket_ = ipc::vhost_user::Socket(ipc::UniqueFd(ends[0]));
  theirs_ = ipc::UniqueFd(ends[1]);
}

ScriptedBackEnd::~ScriptedBackEnd() {
  finish_greeting();
}

void ScriptedBackEnd::begin_greeting() {
  greeting_ = true;
  thread_ = std::thread([this] {
    while (greeting_) {
      pollfd poll{.fd = socket_.fd().get(), .events = POLLIN, .revents = 0};
      ::poll(&poll, 1, 1);
      serve();
    }
  });
}

void ScriptedBackEnd::finish_greeting() {
  greeting_ = false;
  if (thread_.joinable()) thread_.join();
}

void ScriptedBackEnd::serve() {
  while (socket_.fd()) {
    auto message = socket_.receive();
    if (!message || !*message) break;
    answer(**message);
  }
  while (requests_.fd()) {
    auto message = requests_.receive();
    if (!message || !*message) break;
    acknowledged = (*message)->as<std::uint64_t>();
  }
}

void ScriptedBackEnd::run(EventLoop& loop) {
  for (int quiet = 0; quiet < 3;) {
    const std::size_t before = seen.size();
    serve();
    static_cast<void>(loop.run_once(0));
    quiet = seen.size() == before ? quiet + 1 : 0;
  }
}

void ScriptedBackEnd::send(Request request, std::uint32_t flags, const Payload& payload) {
  static_cast<void>(socket_.send(static_cast<std::uint32_t>(request), flags, payload));
}

void ScriptedBackEnd::change_config(Payload changed, bool needs_reply) {
  config = std::move(changed);
  static_cast<void>(requests_.send(static_cast<std::uint32_t>(ipc::vhost_user::BackendRequest::ConfigChangeMsg),
                                   needs_reply ? ipc::vhost_user::kNeedReplyFlag : 0, {}));
}

std::size_t ScriptedBackEnd::count(Request request) const {
  return static_cast<std::size_t>(std::ranges::count(seen, request, &Seen::request));
}

void ScriptedBackEnd::answer(Message& message) {
  const auto request = static_cast<Request>(message.request);
  seen.push_back({request, message.payload, message.fds.size()});
  if (request == Request::SetBackendReqFd && !message.fds.empty())
    requests_ = ipc::vhost_user::Socket(std::move(message.fds[0]));

  std::optional<Payload> reply;
  const auto number = [&](std::uint64_t value) {
    const auto bytes = payload_of(value);
    reply = Payload(bytes.begin(), bytes.end());
  };
  if (message.needs_reply()) number(0);
  switch (request) {
    case Request::GetFeatures:
      number(features);
      break;
    case Request::GetProtocolFeatures:
      number(protocol_features);
      break;
    case Request::GetQueueNum:
      number(queues);
      break;
    case Request::GetVringBase: {
      const auto asked = message.as<VringState>();
      const VringState state{.index = asked ? asked->index : 0, .num = vring_base};
      const auto bytes = payload_of(state);
      reply = Payload(bytes.begin(), bytes.end());
      break;
    }
    case Request::GetInflightFd: {
      auto layout = message.as<ipc::vhost_user::Inflight>().value_or(ipc::vhost_user::Inflight());
      layout.mmap_size = 0x10000;
      const auto bytes = payload_of(layout);
      reply = Payload(bytes.begin(), bytes.end());
      break;
    }
    case Request::GetConfig: {
      ConfigHeader header{};
      if (message.payload.size() < sizeof header) break;
      std::memcpy(&header, message.payload.data(), sizeof header);
      header.size = std::min(header.size, static_cast<std::uint32_t>(config.size()));
      reply = Payload(sizeof header + header.size);
      std::memcpy(reply->data(), &header, sizeof header);
      std::copy_n(config.begin(), header.size, reply->begin() + sizeof header);
      break;
    }
    default:
      break;
  }
  if (const auto scripted = answers.find(request); scripted != answers.end()) reply = scripted->second;
  if (!reply) return;
  const int fd = inflight.get();
  const bool gives = request == Request::GetInflightFd && inflight;
  static_cast<void>(socket_.send(message.request, ipc::vhost_user::kReplyFlag, *reply, std::span(&fd, gives ? 1 : 0)));
}

}  // namespace vcpu_host
