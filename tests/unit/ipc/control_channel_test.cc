#include "ipc/control_channel.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>

#include "ipc/schema/control.capnp.h"
#include "tests/support/catch.h"

using ipc::ControlChannel;
using ipc::UniqueFd;
using ipc::schema::ToVcpuHost;

namespace {

struct Ends {
  ControlChannel a;
  ControlChannel b;
};

Ends ends() {
  auto pair = ControlChannel::pair();
  REQUIRE(pair);
  return {std::move(pair->ours), ControlChannel(std::move(pair->theirs))};
}

void send_raw(const ControlChannel& channel, std::span<const std::byte> bytes) {
  REQUIRE(::send(channel.socket().get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
}

}  // namespace

SCENARIO("A frame arrives whole, with its descriptors in order") {
  Ends channel = ends();
  const UniqueFd first(::open("/dev/null", O_RDONLY));
  const UniqueFd second(::open("/dev/zero", O_RDONLY));
  capnp::MallocMessageBuilder message;
  message.initRoot<ToVcpuHost>().initSetup().setCmdline("console=ttyS0");
  REQUIRE(channel.a.send(message, std::array{first.get(), second.get()}));

  auto frame = channel.b.receive();
  REQUIRE(frame);
  REQUIRE(*frame);
  const auto root = (*frame)->root<ToVcpuHost>();
  CHECK(root.isSetup());
  CHECK(root.getSetup().getCmdline() == "console=ttyS0");
  REQUIRE((*frame)->fds.size() == 2);
  std::array<char, 1> byte{'x'};
  CHECK(::read((*frame)->fds[0].get(), byte.data(), 1) == 0);  // /dev/null
  CHECK(::read((*frame)->fds[1].get(), byte.data(), 1) == 1);  // /dev/zero
  CHECK((::fcntl((*frame)->fds[0].get(), F_GETFD) & FD_CLOEXEC) != 0);
}

SCENARIO("A question has an answer in time, or an error that says which way it has none") {
  Ends channel = ends();
  capnp::MallocMessageBuilder question;
  question.initRoot<ToVcpuHost>().setStart();
  const auto ask = [&] { return channel.a.ask(question, {}, std::chrono::milliseconds(20)); };

  GIVEN("a peer that answers") {
    capnp::MallocMessageBuilder answer;
    answer.initRoot<ToVcpuHost>().setPowerButton();
    REQUIRE(channel.b.send(answer));
    auto answered = ask();
    REQUIRE(answered);
    CHECK(answered->root<ToVcpuHost>().isPowerButton());
    auto asked = channel.b.receive();
    REQUIRE((asked && *asked));
    CHECK((*asked)->root<ToVcpuHost>().isStart());
  }
  GIVEN("one that says nothing") {
    const auto answered = ask();
    REQUIRE_FALSE(answered);
    CHECK(answered.error().code == ETIMEDOUT);
  }
  GIVEN("one that reads and closes") {
    REQUIRE(::shutdown(channel.b.socket().get(), SHUT_WR) == 0);
    const auto answered = ask();
    REQUIRE_FALSE(answered);
    CHECK(answered.error().code == ECONNRESET);
  }
}

SCENARIO("The end of the peer is told from an error") {
  Ends channel = ends();
  channel.a = ControlChannel();
  auto frame = channel.b.receive();
  REQUIRE(frame);
  CHECK_FALSE(*frame);
}

SCENARIO("Nothing to receive does not block when told not to wait") {
  Ends channel = ends();
  auto frame = channel.b.receive(false);
  REQUIRE_FALSE(frame);
  CHECK(frame.error().code == EAGAIN);
}

SCENARIO("A peer's garbage is an error, never more", "[security-33]") {
  Ends channel = ends();

  WHEN("a frame is no whole number of words") {
    send_raw(channel.a, std::array<std::byte, 13>{});
    THEN("it is refused") {
      CHECK(channel.b.receive().error().code == EBADMSG);
    }
  }
  WHEN("the segment table announces more than there is") {
    std::array<std::byte, 16> words{};
    words.fill(std::byte{0xff});
    send_raw(channel.a, words);
    THEN("it is refused") {
      CHECK(channel.b.receive().error().code == EBADMSG);
    }
  }
  WHEN("a pointer leads out of the message") {
    std::array<std::byte, 16> words{};
    words[4] = std::byte{1};  // one segment of one word
    words[8] = std::byte{0xf0};
    words[12] = std::byte{0x10};
    send_raw(channel.a, words);
    THEN("reading it is refused") {
      auto result = ipc::guarded([&]() -> ipc::Result<> {
        auto frame = channel.b.receive();
        if (!frame) return std::unexpected(frame.error());
        (void)(*frame)->root<ToVcpuHost>().isSetup();
        return {};
      });
      REQUIRE_FALSE(result);
      CHECK(result.error().code == EBADMSG);
    }
  }
  WHEN("a frame is larger than the bound") {
    const std::vector<std::byte> large(ipc::kMaxFrameBytes + 8);
    send_raw(channel.a, large);
    THEN("it is refused") {
      CHECK(channel.b.receive().error().code == EMSGSIZE);
    }
  }
}

SCENARIO("A peer that does not read cannot block the sender") {
  Ends channel = ends();
  capnp::MallocMessageBuilder message;
  message.initRoot<ToVcpuHost>().setPowerButton();
  int sent = 0;
  while (channel.a.send(message) && sent < 1'000'000) ++sent;
  CHECK(sent < 1'000'000);
  CHECK(channel.a.send(message).error().code == EAGAIN);
}

SCENARIO("Frames that are refused leak no descriptor", "[security-6][security-9]") {
  Ends channel = ends();
  const UniqueFd null(::open("/dev/null", O_RDONLY));
  const auto next_free = [] {
    const UniqueFd probe(::open("/dev/null", O_RDONLY));
    return probe.get();
  };
  const int before = next_free();
  for (int i = 0; i < 1000; ++i) {
    std::array<std::byte, 16> garbage{};
    garbage.fill(std::byte{0xff});
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
    iovec data{garbage.data(), garbage.size()};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = null.get();
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    REQUIRE(::sendmsg(channel.a.socket().get(), &message, 0) == 16);
    REQUIRE_FALSE(channel.b.receive());
  }
  CHECK(next_free() == before);
}
