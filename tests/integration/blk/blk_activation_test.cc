// bulkhead-blk started with a socket that is listened on already (systemd's protocol, sd_listen_fds(3)).
#include "tests/support/blk_program.h"
#include "tests/support/catch.h"

using Catch::Matchers::Contains;
using support::BlkFolder;
using support::BlkProgram;
using support::Guest;
using support::one_line;

namespace {

ipc::UniqueFd listen_at(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ipc::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), 4) != 0)
    return {};
  return socket;
}

// As systemd starts it: descriptor 3 is `socket`; LISTEN_PID is its own pid, plus `other`.
pid_t activate(const BlkFolder& folder, const ipc::UniqueFd& socket, int count, int other = 0) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  const std::string program = std::string(std::getenv("BULKHEAD_BIN")) + "/bulkhead-blk";
  const std::string image = "--blk-file=" + folder.image();
  const int log = ::open(folder.log().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  ::dup2(log, 2);
  if (socket.get() == 3)
    ::fcntl(3, F_SETFD, 0);
  else
    ::dup2(socket.get(), 3);
  ::setenv("LISTEN_PID", std::to_string(::getpid() + other).c_str(), 1);
  ::setenv("LISTEN_FDS", std::to_string(count).c_str(), 1);
  ::execl(program.c_str(), program.c_str(), image.c_str(), nullptr);
  ::_exit(127);
}

}  // namespace

SCENARIO("blk activation: it serves the socket that systemd listens on, and leaves its path", "[blk-activation]") {
  const BlkFolder folder(64);
  const ipc::UniqueFd socket = listen_at(folder.socket());
  REQUIRE(socket);
  BlkProgram program(folder, activate(folder, socket, 1));
  for (int i = 0; i < 2; ++i) {
    Guest guest;
    REQUIRE(guest.connect(program.connect()));
    CHECK(guest.read(3) == VIRTIO_BLK_S_OK);
  }
  program.signal(SIGTERM);
  CHECK(program.exit_status() == 0);
  CHECK(std::filesystem::exists(folder.socket()));
}

SCENARIO("blk activation: sockets of somebody else's, and too many", "[blk-activation]") {
  const BlkFolder folder(64);
  const ipc::UniqueFd socket = listen_at(folder.socket());
  REQUIRE(socket);
  GIVEN("another process's") {
    BlkProgram program(folder, activate(folder, socket, 1, 1));
    CHECK(program.exit_status() == 2);
    CHECK_THAT(folder.logged(), Contains("exactly one of --socket-path and --fd is right"));
  }
  GIVEN("two") {
    BlkProgram program(folder, activate(folder, socket, 2));
    CHECK(program.exit_status() == 2);
    CHECK_THAT(folder.logged(), Contains("2 sockets of systemd's: one is right"));
  }
  CHECK(one_line(folder.logged()));
}
