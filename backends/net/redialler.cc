#include "backends/net/redialler.h"

#include <poll.h>
#include <unistd.h>

#include <array>

#include "backends/program/helper.h"
#include "ipc/descriptor_passing.h"
#include "ipc/unix_socket.h"
#include "sandbox/policy/net.h"

namespace net {
namespace {

using ipc::Result;
using ipc::UniqueFd;

constexpr int kPatienceMs = 1000;  // before the first attempt too: who listens may end every connection at once

// No allocation: its filter has no call for that.
UniqueFd dial(const sockaddr_un& address) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket && ::connect(socket.get(), ipc::generic(address), sizeof address) != 0) socket = UniqueFd();
  return socket;
}

// False: who asked has gone.
bool answer(const UniqueFd& line, const sockaddr_un& address) {
  UniqueFd socket;
  while (!socket) {
    pollfd gone{.fd = line.get(), .events = POLLIN, .revents = 0};
    if (::poll(&gone, 1, kPatienceMs) != 0) return false;
    socket = dial(address);
  }
  constexpr std::array<std::byte, 1> kWord{};
  return ipc::send_with_fds(line, kWord, std::array{socket.get()}, 0).has_value();
}

}  // namespace

Result<Redialler> Redialler::start(const std::string& path) {
  const sockaddr_un address = TRY(ipc::unix_address(path));
  return Redialler(TRY(program::start_helper({
      .what = "the process that connects again",
      .policy = sandbox::kRedialPolicy,
      .slots = {},
      .work =
          [&](const UniqueFd& line) {
            char word = 0;
            while (::read(line.get(), &word, 1) == 1 && answer(line, address)) {
            }
          },
  })));
}

void Redialler::ask() const {
  constexpr char kWord = 1;
  [[maybe_unused]] const ssize_t asked = ::write(line_.get(), &kWord, 1);  // where it has gone, connection() says so
}

Result<UniqueFd> Redialler::connection() const {
  std::array<std::byte, 1> word{};
  auto received = TRY(ipc::receive_with_fds(line_, word, 1, 0));
  if (received.fds.size() != 1) return ipc::failure(EPIPE, "the process that connects again has gone");
  return std::move(received.fds.front());
}

}  // namespace net
