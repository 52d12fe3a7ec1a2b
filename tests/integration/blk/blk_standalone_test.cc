// bulkhead-blk by itself, by QEMU's conventions for vhost-user back ends (docs/interop/vhost-user.rst).
#include "tests/support/blk_program.h"
#include "tests/support/catch.h"

using Catch::Matchers::Contains;
using support::BlkFolder;
using support::BlkProgram;
using support::BlkRequest;
using support::FakeFrontEnd;
using support::Guest;
using support::kSector;
using support::make_request;
using support::one_line;
using support::Outcome;
using support::run_program;

namespace {

constexpr std::size_t kSectors = 64;

}  // namespace

SCENARIO("blk alone: one front end after the other, with no state of the last", "[blk-standalone]") {
  const BlkFolder folder(kSectors);
  BlkProgram program(folder);
  for (int i = 0; i < 3; ++i) {
    Guest guest;
    REQUIRE(guest.connect(program.connect()));
    CHECK(guest.read(3) == VIRTIO_BLK_S_OK);
  }
  GIVEN("one that breaks the protocol") {
    const auto front_end = program.connect();
    REQUIRE(front_end);
    REQUIRE(front_end->send(2, std::vector<std::byte>(3)));
    CHECK(front_end->closed());
  }
  GIVEN("one that goes with requests in flight") {
    Guest guest;
    REQUIRE(guest.connect(program.connect()));
    for (int i = 0; i < 20; ++i)
      guest.queue.offer(guest.queue.link(make_request(guest.ram, VIRTIO_BLK_T_IN, 0, 32 * kSector).parts()));
    guest.queue.kick();
  }
  GIVEN("one that negotiated, and one that did not") {
    const auto front_end = program.connect();
    REQUIRE(front_end);
    CHECK_FALSE(front_end->get(ipc::vhost_user::Request::GetQueueNum));
  }
  Guest guest;
  REQUIRE(guest.connect(program.connect()));
  CHECK(guest.read(3) == VIRTIO_BLK_S_OK);
}

SCENARIO("blk alone: SIGTERM ends it after what is in flight, and its socket is gone", "[blk-standalone]") {
  const BlkFolder folder(kSectors);
  BlkProgram program(folder);
  GIVEN("no front end") {
    REQUIRE(program.connect());
    program.signal(SIGTERM);
    CHECK(program.exit_status() == 0);
  }
  GIVEN("SIGINT instead") {
    REQUIRE(program.connect());
    program.signal(SIGINT);
    CHECK(program.exit_status() == 0);
  }
  GIVEN("requests") {
    Guest guest;
    REQUIRE(guest.connect(program.connect()));
    std::vector<BlkRequest> requests;
    for (int i = 0; i < 20; ++i) {
      requests.push_back(make_request(guest.ram, VIRTIO_BLK_T_IN, 0, 32 * kSector));
      guest.queue.offer(guest.queue.link(requests.back().parts()));
    }
    guest.queue.kick();
    REQUIRE(guest.queue.wait_used());
    program.signal(SIGTERM);
    CHECK(program.exit_status() == 0);
    std::size_t completed = 1;
    while (guest.queue.wait_used(std::chrono::milliseconds(0))) ++completed;
    for (std::size_t i = 0; i < completed; ++i)
      CHECK(guest.ram.object<std::uint8_t>(requests[i].status) == VIRTIO_BLK_S_OK);
  }
  CHECK_FALSE(std::filesystem::exists(folder.socket()));
}

SCENARIO("blk alone: a path that a killed process left is taken over, no other", "[blk-standalone]") {
  const BlkFolder folder(kSectors);
  BlkProgram first(folder);
  REQUIRE(first.connect());
  WHEN("it was killed") {
    first.kill();
    CHECK(std::filesystem::exists(folder.socket()));
    BlkProgram second(folder);
    Guest guest;
    REQUIRE(guest.connect(second.connect()));
    CHECK(guest.read(0) == VIRTIO_BLK_S_OK);
  }
  WHEN("it still serves") {
    const BlkFolder other(kSectors);
    const Outcome outcome = run_program(other, {"--socket-path=" + folder.socket(), "--blk-file=" + other.image()});
    CHECK(outcome.status == 1);
    CHECK(outcome.said ==
          "bulkhead-blk: " + folder.socket() + ": another process listens there: Address already in use\n");
    CHECK(first.connect());
  }
  WHEN("the path is a file") {
    const BlkFolder other(kSectors);
    const Outcome outcome = run_program(other, {"--socket-path=" + other.image(), "--blk-file=" + other.image()});
    CHECK(outcome.status == 1);
    CHECK(std::filesystem::is_regular_file(other.image()));
  }
}

SCENARIO("blk alone: an image is served by one writer", "[blk-standalone]") {
  const BlkFolder folder(kSectors);
  const std::string image = "--blk-file=" + folder.image();
  GIVEN("a writer") {
    BlkProgram first(folder);
    REQUIRE(first.connect());
    const Outcome outcome = run_program(folder, {"--socket-path=" + folder.socket() + "2", image});
    CHECK(outcome.status == 1);
    CHECK_THAT(outcome.said, Contains(folder.image() + ": in use by another process (it is locked)"));
    CHECK_FALSE(std::filesystem::exists(folder.socket() + "2"));
  }
  GIVEN("a reader") {
    BlkProgram first(folder, {"--socket-path=" + folder.socket(), image, "--read-only"});
    Guest guest;
    REQUIRE(guest.connect(first.connect()));
    CHECK(guest.run(make_request(guest.ram, VIRTIO_BLK_T_OUT, 0, kSector)) == VIRTIO_BLK_S_IOERR);
    BlkProgram second(folder, {"--socket-path=" + folder.socket() + "2", image, "--read-only"});
    second.signal(SIGTERM);
    (void)second.exit_status();
    CHECK_THAT(folder.logged(), !Contains("locked"));
  }
}

SCENARIO("blk alone: memory that can be cut short is refused unless it is accepted", "[blk-standalone]") {
  const BlkFolder folder(kSectors);
  std::vector<std::string> arguments{"--socket-path=" + folder.socket(), "--blk-file=" + folder.image()};
  Guest guest(0);
  GIVEN("no word of it") {
    BlkProgram program(folder, arguments);
    CHECK_FALSE(guest.connect(program.connect()));
    CHECK_THAT(folder.logged_soon("F_SEAL_SHRINK"), Contains("no memfd sealed against shrinking (F_SEAL_SHRINK)"));
  }
  GIVEN("--accept-unsealed") {
    arguments.emplace_back("--accept-unsealed");
    BlkProgram program(folder, arguments);
    REQUIRE(guest.connect(program.connect()));
    CHECK(guest.read(0) == VIRTIO_BLK_S_OK);
  }
}

SCENARIO("blk alone: --fd serves the connection that it is, and ends with it", "[blk-standalone]") {
  const BlkFolder folder(kSectors);
  auto [ours, theirs] = support::make_stream_pair();
  const int inherited = ::dup(theirs.get());  // not close-on-exec
  BlkProgram program(folder, {"--fd=" + std::to_string(inherited), "--blk-file=" + folder.image()});
  ::close(inherited);
  theirs = ipc::UniqueFd();
  Guest guest;
  REQUIRE(guest.connect(std::make_unique<FakeFrontEnd>(std::move(ours))));
  CHECK(guest.read(1) == VIRTIO_BLK_S_OK);
  guest.front_end.reset();
  CHECK(program.exit_status() == 0);
}

SCENARIO("blk alone: serial number and queues are as asked", "[blk-standalone]") {
  const BlkFolder folder(kSectors);
  BlkProgram program(
      folder, {"--socket-path=" + folder.socket(), "--blk-file=" + folder.image(), "--serial=S-42", "--num-queues=3"});
  Guest guest;
  REQUIRE(guest.connect(program.connect()));
  CHECK(guest.front_end->get(ipc::vhost_user::Request::GetQueueNum) == std::uint64_t{3});
  const BlkRequest id = make_request(guest.ram, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES);
  CHECK(guest.run(id) == VIRTIO_BLK_S_OK);
  CHECK(std::memcmp(guest.ram.at(id.data, 5).data(), "S-42", 5) == 0);
}

SCENARIO("blk alone: SIGHUP makes a grown image known to the guest", "[blk-standalone]") {
  const BlkFolder folder(kSectors);
  BlkProgram program(folder);
  Guest guest;
  REQUIRE(guest.connect(program.connect()));
  auto [ours, theirs] = support::make_stream_pair();
  const int fd = theirs.get();
  REQUIRE(guest.front_end->send(static_cast<std::uint32_t>(ipc::vhost_user::Request::SetBackendReqFd), {},
                                std::span(&fd, 1), ipc::vhost_user::kNeedReplyFlag));
  REQUIRE(guest.front_end->acknowledged());
  FakeFrontEnd channel(std::move(ours));
  CHECK(guest.read(kSectors) == VIRTIO_BLK_S_IOERR);
  GIVEN("an image that has grown") {
    REQUIRE(::ftruncate(folder.disk.get(), 2 * kSectors * kSector) == 0);
    program.signal(SIGHUP);
    const auto told = channel.receive();
    REQUIRE(told);
    CHECK(told->request == static_cast<std::uint32_t>(ipc::vhost_user::BackendRequest::ConfigChangeMsg));
    CHECK(guest.read(kSectors) == VIRTIO_BLK_S_OK);
    CHECK(guest.read(2 * kSectors) == VIRTIO_BLK_S_IOERR);
  }
  GIVEN("an image that is shorter") {
    REQUIRE(::ftruncate(folder.disk.get(), kSectors / 2 * kSector) == 0);
    program.signal(SIGHUP);
    CHECK_THAT(folder.logged_soon("stays as it was"), Contains("16384 bytes long now, where at least 32768"));
    CHECK(guest.read(0) == VIRTIO_BLK_S_OK);
  }
  program.signal(SIGTERM);
  CHECK(program.exit_status() == 0);
}

SCENARIO("blk alone: says what it can, by QEMU's conventions", "[blk-standalone]") {
  const BlkFolder folder(kSectors);
  const Outcome capabilities = run_program(folder, {"--print-capabilities", "--nonsense"});
  CHECK(capabilities.status == 0);
  CHECK(capabilities.said == "{\"type\": \"block\", \"features\": [\"read-only\", \"blk-file\"]}\n");
}

SCENARIO("blk alone: help shows how to use it with QEMU", "[blk-standalone]") {
  const BlkFolder folder(kSectors);
  const Outcome help = run_program(folder, {"--help"});
  CHECK(help.status == 0);
  CHECK_THAT(help.said, Contains("qemu-system-x86_64") && Contains("--accept-unsealed") && Contains("--socket-path"));
}

SCENARIO("blk alone: what makes no sense is refused in one line, with status 2", "[blk-standalone]") {
  const BlkFolder folder(kSectors);
  const std::string image = "--blk-file=" + folder.image();
  const auto arguments = GENERATE_COPY(
      std::vector<std::string>{image}, std::vector<std::string>{"--socket-path=/tmp/x", "--fd=5", image},
      std::vector<std::string>{"--socket-path=/tmp/x"}, std::vector<std::string>{"--fd=1", image},
      std::vector<std::string>{"--fd=a", image}, std::vector<std::string>{"--socket-path=/tmp/x", image, "--nonsense"},
      std::vector<std::string>{"--socket-path=/tmp/x", image, "--num-queues=70000"});
  const Outcome outcome = run_program(folder, arguments);
  CAPTURE(outcome.said);
  CHECK(outcome.status == 2);
  CHECK(one_line(outcome.said));
}

SCENARIO("blk alone: what fails is named in one line, with status 1", "[blk-standalone]") {
  const BlkFolder folder(kSectors);
  const std::string socket = "--socket-path=" + folder.socket();
  const std::string image = "--blk-file=" + folder.image();
  struct Case {
    std::vector<std::string> arguments;
    std::string reason;
  };
  const std::vector<Case> cases{
      {{socket, "--blk-file=/nonexistent"}, "/nonexistent: No such file or directory"},
      {{socket, "--blk-file=/dev/null"}, "/dev/null: disk image: neither a regular file nor a block device"},
      {{socket, image, "--num-queues=65"}, "65 queues: 1 to 64 is right"},
      {{socket, image, "--serial=123456789012345678901"}, "serial of 21 bytes"},
      {{"--fd=77", image}, "--fd=77: Bad file descriptor"},
      {{"--socket-path=/nonexistent/socket", image}, "listen on /nonexistent/socket"},
  };
  for (const Case& each : cases) {
    std::filesystem::remove(folder.log());
    const Outcome outcome = run_program(folder, each.arguments);
    CAPTURE(outcome.said);
    CHECK(outcome.status == 1);
    CHECK(one_line(outcome.said));
    CHECK_THAT(outcome.said, Contains(each.reason));
    CHECK_FALSE(std::filesystem::exists(folder.socket()));
  }
}
