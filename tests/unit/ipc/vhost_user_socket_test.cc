#include "ipc/vhost_user_socket.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>

#include "tests/support/catch.h"

using ipc::UniqueFd;
using ipc::vhost_user::Header;
using ipc::vhost_user::payload_of;
using ipc::vhost_user::Request;
using ipc::vhost_user::Socket;
using ipc::vhost_user::VringState;

namespace {

struct Connection {
  Socket front_end;
  Socket back_end;
};

Connection connection() {
  std::array<int, 2> ends{};
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
  return {Socket(UniqueFd(ends[0])), Socket(UniqueFd(ends[1]))};
}

constexpr auto kSetVringNum = static_cast<std::uint32_t>(Request::SetVringNum);

}  // namespace

SCENARIO("A message arrives whole, with its descriptors", "[vhost-user]") {
  Connection peer = connection();
  const UniqueFd null(::open("/dev/null", O_RDONLY));
  REQUIRE(peer.front_end.send(kSetVringNum, 0, payload_of(VringState{1, 256}), std::array{null.get()}));
  REQUIRE(peer.front_end.send(static_cast<std::uint32_t>(Request::GetFeatures), 0, {}));

  auto first = peer.back_end.receive();
  REQUIRE(first);
  REQUIRE(*first);
  CHECK((*first)->request == kSetVringNum);
  CHECK((*first)->as<VringState>()->num == 256);
  CHECK_FALSE((*first)->as<std::uint64_t>() == std::uint64_t{0});
  CHECK((*first)->fds.size() == 1);

  auto second = peer.back_end.receive();
  REQUIRE(second);
  REQUIRE(*second);
  CHECK((*second)->payload.empty());
  CHECK((*second)->fds.empty());

  auto none = peer.back_end.receive();
  REQUIRE(none);
  CHECK_FALSE(*none);
}

SCENARIO("A message that comes byte by byte is put together", "[vhost-user]") {
  Connection peer = connection();
  const Header header{kSetVringNum, 1, sizeof(VringState)};
  const VringState state{3, 64};
  std::array<std::byte, sizeof header + sizeof state> bytes{};
  std::memcpy(bytes.data(), &header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, &state, sizeof state);
  for (std::size_t i = 0; i + 1 < bytes.size(); ++i) {
    REQUIRE(::send(peer.front_end.fd().get(), &bytes[i], 1, 0) == 1);
    auto message = peer.back_end.receive();
    REQUIRE(message);
    REQUIRE_FALSE(*message);
  }
  REQUIRE(::send(peer.front_end.fd().get(), &bytes.back(), 1, 0) == 1);
  auto message = peer.back_end.receive();
  REQUIRE(message);
  REQUIRE(*message);
  CHECK((*message)->as<VringState>()->index == 3);
}

SCENARIO("What no message can be ends the connection with a reason", "[vhost-user][security-13]") {
  Connection peer = connection();
  const auto receive_after = [&](Header header) {
    REQUIRE(::send(peer.front_end.fd().get(), &header, sizeof header, 0) == sizeof header);
    return peer.back_end.receive();
  };
  WHEN("its version is unknown") {
    CHECK(receive_after({kSetVringNum, 2, 0}).error().code == EPROTO);
  }
  WHEN("it announces a payload beyond the bound") {
    CHECK(receive_after({kSetVringNum, 1, 0x7fffffff}).error().code == EPROTO);
  }
  WHEN("the peer closes in the middle") {
    const Header header{kSetVringNum, 1, 8};
    REQUIRE(::send(peer.front_end.fd().get(), &header, sizeof header, 0) == sizeof header);
    peer.front_end = Socket();
    CHECK(peer.back_end.receive().error().code == EPIPE);
  }
}

SCENARIO("More descriptors than a message may have are refused and closed", "[vhost-user][security-9]") {
  Connection peer = connection();
  const UniqueFd null(::open("/dev/null", O_RDONLY));
  const std::vector<int> many(ipc::vhost_user::kMaxMessageFds + 1, null.get());
  const UniqueFd before(::open("/dev/null", O_RDONLY));
  REQUIRE(peer.front_end.send(kSetVringNum, 0, payload_of(VringState{}), many));
  CHECK(peer.back_end.receive().error().code == EMSGSIZE);
  const UniqueFd after(::open("/dev/null", O_RDONLY));
  CHECK(after.get() == before.get() + 1);
}

SCENARIO("A vhost-user peer that does not read cannot block the sender", "[vhost-user]") {
  Connection peer = connection();
  int sent = 0;
  while (peer.front_end.send(kSetVringNum, 0, payload_of(VringState{})) && sent < 1'000'000) ++sent;
  CHECK(sent < 1'000'000);
  CHECK(peer.front_end.send(kSetVringNum, 0, payload_of(VringState{})).error().code == EAGAIN);
}
