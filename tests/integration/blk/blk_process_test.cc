// bulkhead-blk as a process: what it says on its control socket, and a disk's life through it.
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <array>
#include <cstdlib>

#include "ipc/control_channel.h"
#include "ipc/schema/control.capnp.h"
#include "tests/support/blk_driver.h"
#include "tests/support/catch.h"

extern char** environ;

namespace {

using support::BlkRequest;
using support::kSector;
using support::make_request;

struct Setup {
  bool readonly = false;
  std::string serial = "integration";
  std::uint16_t queues = 1;
};

// One bulkhead-blk with its control socket as descriptor 3 and nothing else but a log.
class BlkProcess {
 public:
  explicit BlkProcess(std::vector<const char*> arguments = {}) {
    auto pair = ipc::ControlChannel::pair();
    if (!pair) return;
    control = std::move(pair->ours);
    const std::string program = std::string(std::getenv("BULKHEAD_BIN")) + "/bulkhead-blk";
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, pair->theirs.get(), 3);
    arguments.insert(arguments.begin(), program.c_str());
    arguments.push_back(nullptr);
    if (::posix_spawn(&pid_, program.c_str(), &actions, nullptr, const_cast<char**>(arguments.data()), environ) != 0)
      pid_ = -1;
    ::posix_spawn_file_actions_destroy(&actions);
  }
  ~BlkProcess() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  // Hands over the image and connects `front_end` to it.
  bool assign(const ipc::UniqueFd& image, const Setup& setup) {
    auto [ours, theirs] = support::make_stream_pair();
    front_end = std::make_unique<support::FakeFrontEnd>(std::move(ours));
    capnp::MallocMessageBuilder message;
    auto block = message.initRoot<ipc::schema::ToBackend>().initBlock();
    block.setReadonly(setup.readonly);
    block.setSerial(setup.serial);
    block.setQueues(setup.queues);
    const std::array fds{image.get(), theirs.get()};
    return control.send(message, fds).has_value();
  }

  // "sealed", or "KIND: context" of a failure.
  std::string answer() {
    if (!support::readable_within(control.socket(), support::kPatience)) return "nothing";
    auto frame = control.receive(false);
    if (!frame || !*frame) return "closed";
    const auto message = (*frame)->root<ipc::schema::FromBackend>();
    if (message.isSealed()) return "sealed";
    const auto failed = message.getFailed();
    constexpr std::array kKinds{"configuration", "host", "internal"};
    return fmt::format("{}: {}", kKinds.at(static_cast<std::size_t>(failed.getKind())), failed.getContext().cStr());
  }

  // The exit status; -1 if it did not exit by itself within kPatience.
  int exit_status() {
    int status = 0;
    for (int i = 0; i < 1000; ++i) {
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      }
      ::usleep(10'000);
    }
    return -1;
  }

  ipc::ControlChannel control;
  std::unique_ptr<support::FakeFrontEnd> front_end;

 private:
  pid_t pid_ = -1;
};

struct Disk {
  explicit Disk(BlkProcess& process, std::uint16_t count, std::uint64_t features) {
    for (std::uint16_t i = 0; i < count; ++i) queues.emplace_back(ram, 64);
    ready = process.front_end->greet(ram, features | std::uint64_t{1} << 32);
    for (std::uint16_t i = 0; i < count; ++i) ready = ready && process.front_end->start(queues[i], i);
  }
  std::uint8_t run(const BlkRequest& request, std::size_t queue = 0, bool indirect = false) {
    return support::carry_out(ram, queues[queue], request, indirect);
  }
  support::GuestRam ram{8 << 20};
  std::vector<support::FakeQueue> queues;
  bool ready = false;
};

constexpr std::uint64_t kEverything =
    std::uint64_t{1} << 28 | std::uint64_t{1} << 29 | std::uint64_t{1} << VIRTIO_BLK_F_FLUSH;

}  // namespace

SCENARIO("bulkhead-blk: a sealed process serves its disk", "[blk-process]") {
  const ipc::UniqueFd image = support::make_disk(64);
  BlkProcess process;
  REQUIRE(process.assign(image, {.queues = 2}));
  REQUIRE(process.answer() == "sealed");
  Disk disk(process, 2, kEverything);
  REQUIRE(disk.ready);

  const BlkRequest write = make_request(disk.ram, VIRTIO_BLK_T_OUT, 9, 4 * kSector);
  std::ranges::fill(disk.ram.at(write.data, 4 * kSector), std::byte{0x5a});
  CHECK(disk.run(write, 0) == VIRTIO_BLK_S_OK);
  CHECK(disk.run(make_request(disk.ram, VIRTIO_BLK_T_FLUSH, 0, 0), 1) == VIRTIO_BLK_S_OK);
  const BlkRequest read = make_request(disk.ram, VIRTIO_BLK_T_IN, 12, kSector);
  CHECK(disk.run(read, 1, true) == VIRTIO_BLK_S_OK);
  CHECK(std::ranges::equal(disk.ram.at(read.data, kSector), disk.ram.at(write.data, kSector)));
  const BlkRequest id = make_request(disk.ram, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES);
  CHECK(disk.run(id) == VIRTIO_BLK_S_OK);
  CHECK(std::memcmp(disk.ram.at(id.data, 12).data(), "integration", 12) == 0);
  CHECK(disk.run(make_request(disk.ram, VIRTIO_BLK_T_IN, 64, kSector)) == VIRTIO_BLK_S_IOERR);
  CHECK(disk.run(make_request(disk.ram, 77, 0, 0)) == VIRTIO_BLK_S_UNSUPP);

  WHEN("rings stop and start again, after sealing") {
    const auto base = process.front_end->stop(0);
    REQUIRE(base);
    REQUIRE(process.front_end->start(disk.queues[0], 0, static_cast<std::uint16_t>(*base)));
    CHECK(disk.run(make_request(disk.ram, VIRTIO_BLK_T_IN, 0, kSector)) == VIRTIO_BLK_S_OK);
  }
  WHEN("bad messages come") {
    for (std::uint32_t i = 100; i < 200; ++i) {
      const int fd = image.get();
      REQUIRE(process.front_end->send(i, {}, std::span(&fd, 1), ipc::vhost_user::kNeedReplyFlag));
      REQUIRE_FALSE(process.front_end->acknowledged());
    }
    CHECK(disk.run(make_request(disk.ram, VIRTIO_BLK_T_IN, 0, kSector)) == VIRTIO_BLK_S_OK);
  }
  WHEN("the front end hangs up") {
    process.front_end.reset();
    CHECK(process.exit_status() == 0);
  }
  WHEN("the monitor hangs up") {
    process.control = ipc::ControlChannel();
    CHECK(process.exit_status() == 0);
  }
  WHEN("the front end breaks the protocol") {
    REQUIRE(process.front_end->send(2, std::vector<std::byte>(3)));
    CHECK(process.front_end->closed());
    CHECK(process.exit_status() == 1);
  }
}

SCENARIO("bulkhead-blk: what cannot be served is named before anything is sealed", "[blk-process]") {
  BlkProcess process;
  const auto sized = [](off_t bytes) {
    ipc::UniqueFd image(::memfd_create("image", MFD_CLOEXEC));
    REQUIRE(::ftruncate(image.get(), bytes) == 0);
    return image;
  };
  std::string expected;
  GIVEN("an empty image") {
    REQUIRE(process.assign(sized(0), {}));
    expected = "configuration: disk image: empty, a multiple of 512 bytes is right";
  }
  GIVEN("an image of 1000 bytes") {
    REQUIRE(process.assign(sized(1000), {}));
    expected = "configuration: disk image: 1000 bytes long, a multiple of 512 is right (the next is 1024)";
  }
  GIVEN("a device that is no disk") {
    REQUIRE(process.assign(ipc::UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC)), {}));
    expected = "configuration: disk image: neither a regular file nor a block device";
  }
  GIVEN("a read-only descriptor for a writable disk") {
    REQUIRE(process.assign(ipc::UniqueFd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)), {}));
    expected = "configuration: disk image: open for reading only, so the disk must be readonly=on";
  }
  GIVEN("a serial that is too long") {
    REQUIRE(process.assign(sized(512), {.serial = "123456789012345678901"}));
    expected = "configuration: serial of 21 bytes: at most 20 is right";
  }
  GIVEN("no queues") {
    REQUIRE(process.assign(sized(512), {.queues = 0}));
    expected = "configuration: 0 queues: 1 to 64 is right";
  }
  GIVEN("a message without descriptors") {
    capnp::MallocMessageBuilder message;
    message.initRoot<ipc::schema::ToBackend>().initBlock();
    REQUIRE(process.control.send(message));
    expected = "internal: 0 descriptors came with the disk, 2 are right";
  }
  CHECK(process.answer() == expected);
  CHECK(process.exit_status() == 1);
}

SCENARIO("bulkhead-blk: says what it is", "[blk-process]") {
  CHECK(BlkProcess({"--help"}).exit_status() == 0);
  CHECK(BlkProcess({"--version"}).exit_status() == 0);
  CHECK(BlkProcess({"--nonsense"}).exit_status() == 2);
}
