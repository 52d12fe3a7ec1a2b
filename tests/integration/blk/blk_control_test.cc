// bulkhead-blk's control socket, and the commands that ask it.
#include <sys/stat.h>

#include "ipc/control_channel.h"
#include "ipc/schema/backend_control.capnp.h"
#include "tests/support/blk_program.h"
#include "tests/support/catch.h"

using Catch::Matchers::Contains;
using support::BlkFolder;
using support::BlkProgram;
using support::Guest;
using support::kSector;
using support::make_request;
using support::one_line;
using support::Outcome;
using support::run_program;
namespace schema = ipc::schema;

namespace {

constexpr std::size_t kSectors = 64;

// A back end with a control socket, and a folder for what the commands say.
struct Operated {
  explicit Operated(const std::vector<std::string>& more = {}) : program(served, arguments(more)) {}

  std::vector<std::string> arguments(const std::vector<std::string>& more) const {
    std::vector<std::string> all{"--socket-path=" + served.socket(), "--blk-file=" + served.image(),
                                 "--control-path=" + path()};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string path() const { return served.socket() + ".control"; }
  // Runs `bulkhead-blk COMMAND PATH options...`.
  Outcome run(const std::string& command, const std::vector<std::string>& options = {}) const {
    (void)served.logged_soon("serving");
    const BlkFolder said(1);
    std::vector<std::string> all{command, path()};
    all.insert(all.end(), options.begin(), options.end());
    return run_program(said, all);
  }
  ipc::ControlChannel connect() const {
    (void)served.logged_soon("serving");
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path().copy(address.sun_path, sizeof address.sun_path - 1);
    ipc::UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    const timeval patience{.tv_sec = 10, .tv_usec = 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
    return ipc::ControlChannel(std::move(socket));
  }
  std::size_t descriptors() const {
    const std::filesystem::path folder("/proc/" + std::to_string(program.pid()) + "/fd");
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
  }

  BlkFolder served{kSectors};
  BlkProgram program;
};

bool ask_status(ipc::ControlChannel& client, std::span<const int> fds = {}) {
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::ControlRequest>().setStatus();
  return client.send(message, fds).has_value();
}

bool answered(ipc::ControlChannel& client) {
  const auto frame = client.receive();
  return frame && *frame;
}

bool closed(ipc::ControlChannel& client) {
  const auto frame = client.receive();
  return frame ? !*frame : frame.error().code == ECONNRESET;
}

}  // namespace

SCENARIO("blk control: status tells how it is set up", "[blk-control]") {
  const Operated blk({"--read-only", "--iops=5000", "--bps-read=10M", "--bps-read-burst=1M"});
  const Outcome alone = blk.run("status");
  CHECK(alone.status == 0);
  CHECK_THAT(alone.said, Contains("64 sectors, read-only\n") && Contains("not connected, 0 since the start"));
  CHECK_THAT(alone.said, Contains("iops 5000, bps-read 10485760 (burst 1048576)\n"));
  Guest guest;
  REQUIRE(guest.connect(blk.program.connect()));
  CHECK(guest.read(0) == VIRTIO_BLK_S_OK);
  const Outcome json = blk.run("status", {"--json"});
  CHECK(json.status == 0);
  CHECK(one_line(json.said));
  CHECK_THAT(json.said, Contains(R"("connected": true, "connections": 1, )"));
  CHECK_THAT(json.said, Contains(R"("bps-read": {"per_second": 10485760, "burst": 1048576})"));
}

SCENARIO("blk control: set changes the limits that it names, and no others", "[blk-control]") {
  const Operated blk({"--iops=5000", "--bps=1G"});
  const Outcome set = blk.run("set", {"--iops=0", "--iops-read=7", "--iops-read-burst=3", "--bps-burst=2K"});
  CHECK(set.status == 0);
  CHECK(set.said.empty());
  CHECK_THAT(blk.run("status").said, Contains("iops-read 7 (burst 3), bps 1073741824 (burst 2048)\n"));
  CHECK(blk.run("set", {"--iops-read=0", "--bps=0"}).status == 0);
  CHECK_THAT(blk.run("status").said, Contains("limits        none\n"));
}

SCENARIO("blk control: grow makes a grown image known to the guest", "[blk-control]") {
  const Operated blk;
  Guest guest;
  REQUIRE(guest.connect(blk.program.connect()));
  CHECK(guest.read(kSectors) == VIRTIO_BLK_S_IOERR);
  REQUIRE(::ftruncate(blk.served.disk.get(), 2 * kSectors * kSector) == 0);
  CHECK(blk.run("grow").status == 0);
  CHECK(guest.read(kSectors) == VIRTIO_BLK_S_OK);
  REQUIRE(::ftruncate(blk.served.disk.get(), kSectors * kSector) == 0);
  const Outcome shrunk = blk.run("grow");
  CHECK(shrunk.status == 1);
  CHECK(one_line(shrunk.said));
  CHECK_THAT(shrunk.said, Contains("32768 bytes long now, where at least 65536"));
}

SCENARIO("blk control: stats go on until the back end has gone", "[blk-control]") {
  Operated blk;
  REQUIRE(blk.run("status").status == 0);
  const BlkFolder said(1);
  BlkProgram stats(said, {"stats", blk.path(), "--interval=0.1"});
  CHECK_THAT(said.logged_soon("all"), Contains("IOPS") && Contains("p99.9") && Contains("throttled"));
  blk.program.signal(SIGTERM);
  CHECK(blk.program.exit_status() == 0);
  CHECK(stats.exit_status() == 0);
  CHECK_FALSE(std::filesystem::exists(blk.path()));
  CHECK_FALSE(std::filesystem::exists(blk.served.socket()));
}

SCENARIO("blk control: stats count what the guest did", "[blk-control]") {
  const Operated blk({"--num-queues=2"});
  Guest guest;
  REQUIRE(guest.connect(blk.program.connect()));
  for (int i = 0; i < 5; ++i) CHECK(guest.read(0) == VIRTIO_BLK_S_OK);
  CHECK(guest.run(make_request(guest.ram, VIRTIO_BLK_T_OUT, 0, 2 * kSector)) == VIRTIO_BLK_S_OK);
  CHECK(guest.read(kSectors) == VIRTIO_BLK_S_IOERR);
  const Outcome once = blk.run("stats", {"--once", "--json"});
  CHECK(once.status == 0);
  CHECK(one_line(once.said));
  CAPTURE(once.said);
  CHECK_THAT(once.said, Contains(R"("device": {"in_flight": 0, "submitted": )"));
  CHECK_THAT(once.said, Contains(R"("read": {"finished": 6, "failed": 1, "bytes": 2560, )"));
  CHECK_THAT(once.said, Contains(R"("write": {"finished": 1, "failed": 0, "bytes": 1024, )"));
  CHECK_THAT(once.said, !Contains(R"("kicks": 0, "interrupts": 0, "throttled": 0, "throttled_ns": 0, "total": )"
                                  R"({"finished": 7)"));
  const std::size_t second = once.said.rfind(R"({"in_flight")");
  CHECK_THAT(once.said.substr(second), Contains(R"("submitted": 0, )"));
  const Outcome table = blk.run("stats", {"--once"});
  CHECK_THAT(table.said, Contains("\n  read ") && Contains("\n  write ") && Contains("\nqueue 0 "));
  CHECK_THAT(table.said, !Contains("queue 1") && !Contains("flush"));
}

SCENARIO("blk control: a limit holds the guest back, and lets it go when it is taken away", "[blk-control]") {
  const Operated blk({"--iops=20", "--iops-burst=1"});
  Guest guest;
  REQUIRE(guest.connect(blk.program.connect()));
  const auto start = std::chrono::steady_clock::now();
  const auto passed = [&] { return std::chrono::steady_clock::now() - start; };
  for (int i = 0; i < 11; ++i) CHECK(guest.read(0) == VIRTIO_BLK_S_OK);
  CHECK(passed() >= std::chrono::milliseconds(500));
  CHECK_THAT(blk.run("stats", {"--once", "--json"}).said, !Contains(R"("throttled": 0, "throttled_ns": 0)"));
  WHEN("it becomes so low that a request would wait for hours") {
    CHECK(blk.run("set", {"--iops=0", "--bps=1", "--bps-burst=1"}).status == 0);
    CHECK(guest.read(0) == VIRTIO_BLK_S_OK);
    guest.queue.offer(guest.queue.link(make_request(guest.ram, VIRTIO_BLK_T_IN, 0, kSector).parts()));
    guest.queue.kick();
    CHECK_FALSE(guest.queue.wait_used(std::chrono::milliseconds(200)));
    CHECK(blk.run("set", {"--bps=0"}).status == 0);
    CHECK(guest.queue.wait_used());
  }
}

SCENARIO("blk control: clients that are silent, mad or many do not hold up the guest", "[blk-control]") {
  Operated blk;
  Guest guest;
  REQUIRE(guest.connect(blk.program.connect()));
  GIVEN("silent ones, as many as it serves") {
    std::vector<ipc::ControlChannel> silent;
    for (int i = 0; i < 8; ++i) silent.push_back(blk.connect());
    REQUIRE(ask_status(silent.back()));
    REQUIRE(answered(silent.back()));
    CHECK(guest.read(0) == VIRTIO_BLK_S_OK);
    auto surplus = blk.connect();
    CHECK(closed(surplus));
    silent.clear();
    CHECK(guest.read(0) == VIRTIO_BLK_S_OK);
    CHECK(blk.run("status").status == 0);
  }
  GIVEN("one that asks without end") {
    auto client = blk.connect();
    std::size_t answers = 0;
    while (ask_status(client) && answered(client)) ++answers;
    CHECK(answers >= 50);
    CHECK(answers <= 150);
    CHECK(guest.read(0) == VIRTIO_BLK_S_OK);
    CHECK_THAT(blk.served.logged(), Contains("control: connection closed: it asks too often"));
  }
  GIVEN("one that sends no messages") {
    const std::size_t before = blk.descriptors();
    const std::vector<std::size_t> sizes{1, 7, 8, 16, 4096, 65536, 70000};
    for (const std::size_t size : sizes) {
      auto client = blk.connect();
      const std::vector<std::byte> noise(size, std::byte{0xa5});
      CHECK(::send(client.socket().get(), noise.data(), noise.size(), MSG_NOSIGNAL) >= 0);
      CHECK(closed(client));
    }
    CHECK(guest.read(0) == VIRTIO_BLK_S_OK);
    CHECK(blk.descriptors() == before);
    CHECK(blk.run("status").status == 0);
  }
  GIVEN("one that hands over descriptors") {
    const std::size_t before = blk.descriptors();
    {
      auto client = blk.connect();
      const std::vector<int> fds(50, client.socket().get());
      for (int i = 0; i < 10; ++i) REQUIRE((ask_status(client, fds) && answered(client)));
    }
    while (blk.descriptors() != before && guest.read(0) == VIRTIO_BLK_S_OK) ::usleep(1'000);
    CHECK(blk.descriptors() == before);
  }
}

SCENARIO("blk control: nobody but root and its own uid may ask", "[blk-control]") {
  const Operated blk;
  REQUIRE(blk.run("status").status == 0);
  struct stat status{};
  REQUIRE(::stat(blk.path().c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0600);
  if (::geteuid() != 0) SKIP_TEST("root alone can become another uid");
  // Even one whom the path lets in.
  std::filesystem::permissions(blk.path(), std::filesystem::perms::all);
  std::filesystem::permissions(std::filesystem::path(blk.path()).parent_path(), std::filesystem::perms::all);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setuid(65534) != 0) ::_exit(1);
    auto client = blk.connect();
    ::_exit(client.socket() && closed(client) ? 0 : 2);
  }
  int ended = -1;
  ::waitpid(child, &ended, 0);
  CHECK(ended == 0);
  CHECK_THAT(blk.served.logged_soon("refused"), Contains("control: connection of uid 65534 refused"));
}

SCENARIO("blk control: what makes no sense is refused in one line that names it", "[blk-control]") {
  const Operated blk;
  struct Case {
    std::string command;
    std::vector<std::string> options;
    int status;
    std::string reason;
  };
  const Case each = GENERATE(
      Case{"set", {}, 2, "bulkhead-blk set: no limit is named"},
      Case{"set", {"--iops=many"}, 2, "bulkhead-blk set: --iops: many: a whole number is right"},
      Case{"set", {"--iops=-1"}, 2, "bulkhead-blk set: --iops: -1: a whole number is right"},
      Case{"set", {"--iops=99999999999999999999"}, 2, "--iops"}, Case{"set", {"--bps=99999999T"}, 2, "--bps"},
      Case{"set", {"--bps=-1"}, 2, "bulkhead-blk set: --bps: -1: bytes are right"},
      Case{"set", {"--iops-burst=5"}, 1, "--iops-burst: there is no --iops that it could belong to"},
      Case{"set", {"--nonsense=5"}, 2, "--nonsense=5"}, Case{"stats", {"--interval=0"}, 2, "--interval"},
      Case{"stats", {"--once", "--interval=2"}, 2, "--once excludes --interval"}, Case{"grow", {"now"}, 2, "now"});
  const Outcome outcome = blk.run(each.command, each.options);
  CAPTURE(outcome.said);
  CHECK(outcome.status == each.status);
  CHECK(one_line(outcome.said));
  CHECK_THAT(outcome.said, Contains(each.reason));
}

SCENARIO("blk control: commands that reach no back end say which path", "[blk-control]") {
  const BlkFolder folder(kSectors);
  const auto command = GENERATE(as<std::string>(), "stats", "status", "grow");
  const Outcome missing = run_program(folder, {command, folder.socket()});
  CHECK(missing.status == 1);
  CHECK(missing.said == "bulkhead-blk " + command + ": " + folder.socket() + ": No such file or directory\n");
}

SCENARIO("blk control: limits and paths of the server that make no sense", "[blk-control]") {
  const BlkFolder folder(kSectors);
  struct Case {
    std::string option;
    int status;
    std::string reason;
  };
  const Case each = GENERATE(Case{"--iops=1.5", 2, "--iops"}, Case{"--bps=12Q", 2, "--bps: 12Q: bytes are right"},
                             Case{"--blk-file=null:12Q", 2, "--blk-file=null:12Q: null: and a size is right"},
                             Case{"--bps-write-burst=4K", 2, "--bps-write-burst: there is no --bps-write"},
                             Case{"--control-path=/nonexistent/control", 1, "/nonexistent/control"});
  const Outcome outcome = run_program(
      folder,
      each.option.starts_with("--blk-file")
          ? std::vector<std::string>{"--socket-path=" + folder.socket(), each.option}
          : std::vector<std::string>{"--socket-path=" + folder.socket(), "--blk-file=" + folder.image(), each.option});
  CAPTURE(outcome.said);
  CHECK(outcome.status == each.status);
  CHECK(one_line(outcome.said));
  CHECK_THAT(outcome.said, Contains(each.reason));
  CHECK_FALSE(std::filesystem::exists(folder.socket()));
}
