// Whatever way bulkhead-blk is told to carry out requests, the driver sees the same.
#include <sys/resource.h>

#include "tests/support/blk_program.h"
#include "tests/support/catch.h"

using Catch::Matchers::Contains;
using support::BlkFolder;
using support::BlkProgram;
using support::BlkRequest;
using support::kSector;
using support::make_request;

namespace {

constexpr std::uint16_t kQueues = 4;
constexpr std::size_t kSectors = 4096;
constexpr std::uint64_t kFeatures = std::uint64_t{1} << 32 | std::uint64_t{1} << 29 |
                                    std::uint64_t{1} << VIRTIO_BLK_F_FLUSH | std::uint64_t{1} << VIRTIO_BLK_F_DISCARD |
                                    std::uint64_t{1} << VIRTIO_BLK_F_WRITE_ZEROES;

struct Guest {
  explicit Guest(const BlkProgram& program, std::size_t ram_bytes = 16 << 20) : Guest(program.connect(), ram_bytes) {}
  explicit Guest(std::unique_ptr<support::FakeFrontEnd> connection, std::size_t ram_bytes = 16 << 20)
      : ram(ram_bytes), front_end(std::move(connection)) {
    for (std::uint16_t i = 0; i < kQueues; ++i) queues.emplace_back(ram, std::uint16_t{64});
    ready = front_end && front_end->greet(ram, kFeatures);
    for (std::uint16_t i = 0; i < kQueues; ++i) ready = ready && front_end->start(queues[i], i);
  }

  void offer(const BlkRequest& request, std::size_t queue) { queues[queue].offer(queues[queue].link(request.parts())); }
  std::uint8_t run(const BlkRequest& request, std::size_t queue = 0) {
    return support::carry_out(ram, queues[queue], request);
  }
  std::uint8_t run_range(std::uint32_t type, std::uint64_t sector, std::uint32_t sectors) {
    BlkRequest request = make_request(ram, type, 0, sizeof(virtio_blk_discard_write_zeroes));
    request.device_writes = false;
    ram.object<virtio_blk_discard_write_zeroes>(request.data) = {.sector = sector, .num_sectors = sectors, .flags = 0};
    return run(request);
  }
  void fill(const BlkRequest& request, std::byte value) {
    std::ranges::fill(ram.at(request.data, request.bytes), value);
  }
  bool holds(const BlkRequest& request, std::byte value) {
    return std::ranges::all_of(ram.at(request.data, request.bytes), [&](std::byte byte) { return byte == value; });
  }

  support::GuestRam ram;
  std::vector<support::FakeQueue> queues;
  std::unique_ptr<support::FakeFrontEnd> front_end;
  bool ready = false;
};

// Whether so much comes to be pinned by the process within kPatience.
bool pinned_soon(pid_t process, std::size_t bytes) {
  const std::string right = fmt::format("VmPin:\t{:>8} kB\n", bytes >> 10);
  const auto end = std::chrono::steady_clock::now() + support::kPatience;
  while (std::chrono::steady_clock::now() < end) {
    std::ostringstream status;
    status << std::ifstream(fmt::format("/proc/{}/status", process)).rdbuf();
    if (status.str().find(right) != std::string::npos) return true;
    ::usleep(2'000);
  }
  return false;
}

std::vector<std::string> arguments(const BlkFolder& folder, std::vector<std::string> more) {
  more.insert(more.begin(), {"--socket-path=" + folder.socket(), "--blk-file=" + folder.image(), "--num-queues=4"});
  return more;
}

}  // namespace

SCENARIO("blk ways: all engines, caches, ways of waiting and numbers of threads serve the same disk", "[blk-ways]") {
  const auto way = GENERATE(std::vector<std::string>{"--cache=writeback"},
                            std::vector<std::string>{"--cache=writeback", "--engine=plain"},
                            std::vector<std::string>{"--engine=plain"}, std::vector<std::string>{"--poll=adaptive"},
                            std::vector<std::string>{"--poll=busy"}, std::vector<std::string>{"--threads=3"},
                            std::vector<std::string>{"--threads=4", "--poll=adaptive", "--cpus=0"},
                            std::vector<std::string>{"--threads=2", "--engine=plain", "--poll=busy"},
                            std::vector<std::string>{"--pin-memory", "--threads=3"},
                            std::vector<std::string>{"--pin-memory", "--cache=writeback"});
  const BlkFolder folder(kSectors);
  BlkProgram program(folder, arguments(folder, way));
  INFO(way[0] << ": " << folder.logged());
  Guest guest(program);
  REQUIRE(guest.ready);

  // Buffers and lengths that direct I/O takes, and those that it does not.
  const std::uint32_t bytes = GENERATE(as<std::uint32_t>{}, 512, 4096, 102'400);
  const std::uint64_t sector = GENERATE(as<std::uint64_t>{}, 0, 1024, 3);
  BlkRequest write = make_request(guest.ram, VIRTIO_BLK_T_OUT, sector, bytes);
  guest.fill(write, std::byte{0x5a});
  CHECK(guest.run(write, 1) == VIRTIO_BLK_S_OK);
  CHECK(guest.run(make_request(guest.ram, VIRTIO_BLK_T_FLUSH, 0, 0), 2) == VIRTIO_BLK_S_OK);
  for (std::size_t queue = 0; queue < kQueues; ++queue) {
    const BlkRequest read = make_request(guest.ram, VIRTIO_BLK_T_IN, sector, bytes);
    CHECK(guest.run(read, queue) == VIRTIO_BLK_S_OK);
    CHECK(guest.holds(read, std::byte{0x5a}));
  }
  std::vector<std::byte> content(bytes);
  REQUIRE(::pread(folder.disk.get(), content.data(), bytes, static_cast<off_t>(sector * kSector)) == ssize_t{bytes});
  CHECK(std::ranges::all_of(content, [](std::byte byte) { return byte == std::byte{0x5a}; }));

  CHECK(guest.run_range(VIRTIO_BLK_T_WRITE_ZEROES, sector, bytes / kSector) == VIRTIO_BLK_S_OK);
  const BlkRequest zeroes = make_request(guest.ram, VIRTIO_BLK_T_IN, sector, bytes);
  CHECK(guest.run(zeroes, 3) == VIRTIO_BLK_S_OK);
  CHECK(guest.holds(zeroes, std::byte{0}));
  CHECK(guest.run_range(VIRTIO_BLK_T_DISCARD, sector, bytes / kSector) == VIRTIO_BLK_S_OK);
  CHECK(guest.run(make_request(guest.ram, VIRTIO_BLK_T_IN, kSectors, kSector), 2) == VIRTIO_BLK_S_IOERR);

  // Rings stop with requests in flight, and go on.
  for (std::size_t queue = 0; queue < kQueues; ++queue) {
    for (int i = 0; i < 8; ++i)
      guest.offer(make_request(guest.ram, VIRTIO_BLK_T_IN, 8 * static_cast<unsigned>(i), 8 * kSector), queue);
    guest.queues[queue].kick();
  }
  for (std::uint16_t queue = 0; queue < kQueues; ++queue) {
    const auto base = guest.front_end->stop(queue);
    REQUIRE(base);
    REQUIRE(guest.front_end->start(guest.queues[queue], queue, static_cast<std::uint16_t>(*base)));
  }
  for (std::size_t queue = 0; queue < kQueues; ++queue)
    for (int i = 0; i < 8; ++i) CHECK(guest.queues[queue].wait_used());

  program.signal(SIGTERM);
  CHECK(program.exit_status() == 0);
}

SCENARIO("blk ways: pinned memory is the guest's alone, and given back when it goes", "[blk-ways]") {
  constexpr std::size_t kBytes = 4 << 20;  // below what anybody may lock
  const BlkFolder folder(kSectors);
  BlkProgram program(folder, arguments(folder, {"--pin-memory"}));
  {
    Guest guest(program, kBytes);
    REQUIRE(guest.ready);
    if (folder.logged_soon("serving").find("pinned memory") == std::string::npos) SKIP_TEST("no io_uring here");
    CHECK(pinned_soon(program.pid(), kBytes));
    const BlkRequest read = make_request(guest.ram, VIRTIO_BLK_T_IN, 0, kSector);
    CHECK(guest.run(read) == VIRTIO_BLK_S_OK);
    // The same memory in another table: what was pinned for the first is not any more.
    REQUIRE(guest.front_end->set_memory(guest.ram));
    CHECK(pinned_soon(program.pid(), kBytes));
    CHECK(guest.run(read) == VIRTIO_BLK_S_OK);
  }
  CHECK(pinned_soon(program.pid(), 0));
}

SCENARIO("blk ways: memory that comes later and cannot be pinned leaves what is pinned as it is", "[blk-ways]") {
  constexpr std::size_t kBytes = 4 << 20;
  constexpr std::size_t kMore = 64 << 20;  // beyond what may usually be locked
  const BlkFolder folder(kSectors);
  BlkProgram program(folder, arguments(folder, {"--pin-memory"}));
  Guest guest(program, kBytes);
  REQUIRE(guest.ready);
  if (folder.logged_soon("serving").find("pinned memory") == std::string::npos) SKIP_TEST("no io_uring here");
  REQUIRE(pinned_soon(program.pid(), kBytes));
  std::vector<BlkRequest> reads;
  for (int i = 0; i < 20; ++i) {
    reads.push_back(make_request(guest.ram, VIRTIO_BLK_T_IN, 8, 8 * kSector));
    guest.offer(reads.back(), 0);
  }
  guest.queues[0].kick();

  const support::GuestRam more(kMore);
  const ipc::vhost_user::SingleMemoryRegion slot{0, {1 << 30, kMore, std::uint64_t{1} << 40, 0}};
  const int fd = more.fd().get();
  REQUIRE(guest.front_end->ask(ipc::vhost_user::Request::AddMemReg, slot, std::span(&fd, 1)));
  for (std::size_t i = 0; i < reads.size(); ++i) REQUIRE(guest.queues[0].wait_used());
  for (const BlkRequest& read : reads) CHECK(guest.ram.object<std::uint8_t>(read.status) == VIRTIO_BLK_S_OK);
  const bool refused = folder.logged().find("guest memory is not pinned: more than may be locked") != std::string::npos;
  CHECK(pinned_soon(program.pid(), refused ? kBytes : kBytes + kMore));
  CHECK(guest.run(make_request(guest.ram, VIRTIO_BLK_T_IN, 0, kSector)) == VIRTIO_BLK_S_OK);
  REQUIRE(guest.front_end->ask(ipc::vhost_user::Request::RemMemReg, slot));
  CHECK(pinned_soon(program.pid(), kBytes));
}

SCENARIO("blk ways: memory is pinned as a whole, or a line says why it is not and requests are served", "[blk-ways]") {
  constexpr std::size_t kBytes = 64 << 20;  // beyond what may usually be locked
  const BlkFolder folder(kSectors);
  BlkProgram program(folder, arguments(folder, {"--pin-memory"}));
  Guest guest(program, kBytes);
  REQUIRE(guest.ready);
  if (folder.logged_soon("serving").find("pinned memory") == std::string::npos) SKIP_TEST("no io_uring here");
  BlkRequest write = make_request(guest.ram, VIRTIO_BLK_T_OUT, 8, kSector);
  guest.fill(write, std::byte{0x3c});
  CHECK(guest.run(write) == VIRTIO_BLK_S_OK);
  const bool refused = folder.logged().find("guest memory is not pinned: more than may be locked") != std::string::npos;
  CHECK(pinned_soon(program.pid(), refused ? 0 : kBytes));
}

SCENARIO("blk ways: null:SIZE is a disk that keeps nothing", "[blk-ways]") {
  const BlkFolder folder(1);
  BlkProgram program(folder, {"--socket-path=" + folder.socket(), "--blk-file=null:64M", "--num-queues=4"});
  Guest guest(program);
  REQUIRE(guest.ready);
  CHECK(guest.run(make_request(guest.ram, VIRTIO_BLK_T_OUT, 0, 8 * kSector)) == VIRTIO_BLK_S_OK);
  CHECK(guest.run(make_request(guest.ram, VIRTIO_BLK_T_IN, (128 << 10) - 1, kSector)) == VIRTIO_BLK_S_OK);
  CHECK(guest.run(make_request(guest.ram, VIRTIO_BLK_T_IN, 128 << 10, kSector)) == VIRTIO_BLK_S_IOERR);
  CHECK(guest.run(make_request(guest.ram, VIRTIO_BLK_T_FLUSH, 0, 0)) == VIRTIO_BLK_S_OK);
}

SCENARIO("blk ways: an image that is cut short under our feet", "[blk-ways]") {
  const BlkFolder folder(kSectors);
  GIVEN("errors that the guest is told of") {
    BlkProgram program(folder, arguments(folder, {}));
    Guest guest(program);
    REQUIRE(guest.ready);
    REQUIRE(::ftruncate(folder.disk.get(), 0) == 0);
    CHECK(guest.run(make_request(guest.ram, VIRTIO_BLK_T_IN, 8, 8 * kSector)) == VIRTIO_BLK_S_IOERR);
    CHECK(guest.run(make_request(guest.ram, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES)) == VIRTIO_BLK_S_OK);
  }
  GIVEN("--on-error=stop") {
    BlkProgram program(folder, arguments(folder, {"--on-error=stop"}));
    Guest guest(program);
    REQUIRE(guest.ready);
    REQUIRE(::ftruncate(folder.disk.get(), 0) == 0);
    const BlkRequest read = make_request(guest.ram, VIRTIO_BLK_T_IN, 8, 8 * kSector);
    guest.offer(read, 0);
    guest.queues[0].kick();
    CHECK_THAT(folder.logged_soon("stopped"), Contains("I/O error: stopped, and trying again every second"));
    CHECK_FALSE(guest.queues[0].wait_used(std::chrono::milliseconds(100)));
    WHEN("the image is there again") {
      REQUIRE(::ftruncate(folder.disk.get(), kSectors * kSector) == 0);
      CHECK(guest.queues[0].wait_used());
      CHECK(guest.ram.object<std::uint8_t>(read.status) == VIRTIO_BLK_S_OK);
    }
    WHEN("the front end wants the ring to stop") {
      CHECK(guest.front_end->stop(0));
      CHECK(guest.queues[0].wait_used());
      CHECK(guest.ram.object<std::uint8_t>(read.status) == VIRTIO_BLK_S_IOERR);
    }
  }
}

SCENARIO("blk ways: --lock=running lets two processes have an image, and one of them use it", "[blk-ways]") {
  const BlkFolder folder(kSectors);
  const std::string other_socket = folder.socket() + "2";
  BlkProgram source(folder, arguments(folder, {"--lock=running"}));
  BlkProgram target(
      folder, {"--socket-path=" + other_socket, "--blk-file=" + folder.image(), "--num-queues=4", "--lock=running"});
  Guest first(source);
  REQUIRE(first.ready);
  CHECK(first.run(make_request(first.ram, VIRTIO_BLK_T_IN, 0, kSector)) == VIRTIO_BLK_S_OK);

  Guest second(target.connect(other_socket));
  CHECK_FALSE(second.ready);  // its rings are refused
  REQUIRE(second.front_end);
  for (std::uint16_t queue = 0; queue < kQueues; ++queue) REQUIRE(first.front_end->stop(queue));
  for (std::uint16_t queue = 0; queue < kQueues; ++queue) REQUIRE(second.front_end->start(second.queues[queue], queue));
  CHECK(second.run(make_request(second.ram, VIRTIO_BLK_T_OUT, 0, kSector)) == VIRTIO_BLK_S_OK);
  CHECK_FALSE(first.front_end->start(first.queues[0], 0));
}

SCENARIO("blk ways: --sandbox=require serves only where the host gives every layer", "[blk-ways]") {
  const BlkFolder folder(kSectors);
  BlkProgram best(folder);
  REQUIRE(best.connect());
  const std::string line = folder.logged_soon("not in force: ");
  const bool all = line.find("not in force: own pids, own uid, empty root\n") != std::string::npos;
  best.kill();
  BlkProgram required(folder,
                      {"--socket-path=" + folder.socket(), "--blk-file=" + folder.image(), "--sandbox=require"});
  if (all) {
    CHECK(required.connect());
  } else {
    CHECK(required.exit_status() == 1);
    CHECK_THAT(folder.logged(), Contains("--sandbox=require: this host does not give us: "));
  }
}

SCENARIO("blk ways: no file can be written beyond the image's size, until it has grown", "[blk-ways]") {
  const BlkFolder folder(8 * kSectors);
  BlkProgram program(folder);
  REQUIRE(program.connect());
  CHECK_THAT(folder.logged_soon("serving"), Contains("serving"));  // a connection may wait for that in the kernel
  const auto limit = [&] {
    rlimit now{};
    return ::prlimit(program.pid(), RLIMIT_FSIZE, nullptr, &now) == 0 ? now.rlim_cur : rlim_t{0};
  };
  CHECK(limit() == 8 * kSectors * kSector);
  REQUIRE(::ftruncate(folder.disk.get(), 16 * kSectors * kSector) == 0);
  program.signal(SIGHUP);
  const auto end = std::chrono::steady_clock::now() + support::kPatience;
  while (limit() == 8 * kSectors * kSector && std::chrono::steady_clock::now() < end) ::usleep(2'000);
  CHECK(limit() == 16 * kSectors * kSector);
}
