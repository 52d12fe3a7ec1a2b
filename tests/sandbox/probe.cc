// Reads one command in each packet on the control socket, tries it, and answers what came of it: "ok"
// or an errno by name. The tests' stand-in for a child that was taken over.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "sandbox/child_process.h"
#include "sandbox/seal.h"
#include "sandbox/seccomp.h"

namespace {

std::string outcome(bool done) {
  return done ? "ok" : ::strerrorname_np(errno);
}

std::string open_path(const char* path, int flags) {
  const ipc::UniqueFd fd(::open(path, flags | O_CLOEXEC, 0600));
  return outcome(static_cast<bool>(fd));
}

std::string map_executable() {
  void* const page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return outcome(page != MAP_FAILED);
}

std::string make_executable() {
  void* const page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return outcome(::mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
}

std::string fork_once() {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  const std::string result = outcome(pid > 0);
  if (pid > 0) ::waitpid(pid, nullptr, 0);
  return result;
}

std::string connect_abstract() {
  const ipc::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = "\0bulkhead"};
  return outcome(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
}

std::string connect_tcp() {
  const ipc::UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr address{.sa_family = AF_INET, .sa_data = {0, 9, 127, 0, 0, 1}};
  return outcome(::connect(socket.get(), &address, 16) == 0);
}

std::string bind_tcp() {
  const ipc::UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr address{.sa_family = AF_INET, .sa_data = {0x20, 0, 0, 0, 0, 0}};
  return outcome(::bind(socket.get(), &address, 16) == 0);
}

std::string write_beyond(off_t size) {
  const ipc::UniqueFd file(::memfd_create("file", MFD_CLOEXEC));
  return outcome(::pwrite(file.get(), "x", 1, size) == 1);
}

std::string hostname() {
  utsname names{};
  ::uname(&names);
  return std::string(names.nodename) + "." + names.domainname;
}

std::string lock_down() {
  const auto protections = sandbox::lock_down();
  if (!protections) return ipc::describe(protections.error());
  std::string result;
  for (const auto& layer : sandbox::layers(*protections))
    if (layer.present) result += std::string(layer.name) + ";";
  return result;
}

// As a probe receives and sends by other calls than a back end would.
constexpr sandbox::Rule kProbePolicy[] = {
    {SYS_recvfrom, "commands"},
    {SYS_sendto, "answers"},
    {SYS_exit_group, "the test is done"},
};

std::string enter_filter() {
  const auto entered = sandbox::enter_filter(kProbePolicy, sandbox::Slots());
  return entered ? "ok" : ipc::describe(entered.error());
}

std::string run(const std::string& command, int argc, char** argv) {
  if (command == "arguments") return std::to_string(argc) + " " + argv[0] + " " + argv[argc - 1];
  if (command == "environment") return *::environ == nullptr ? "empty" : "not empty";
  if (command == "pid") return std::to_string(::getpid());
  if (command == "session") return std::to_string(::getsid(0));
  if (command == "hostname") return hostname();
  if (command == "umask") return std::to_string(::umask(0));
  if (command == "open root") return open_path("/", O_RDONLY | O_DIRECTORY);
  if (command == "open proc") return open_path("/proc/self/status", O_RDONLY);
  if (command == "open above") return open_path("../../../../etc/passwd", O_RDONLY);
  if (command == "create file") return open_path("/file", O_CREAT | O_WRONLY);
  if (command == "make directory") return outcome(::mkdir("/directory", 0700) == 0);
  if (command == "chmod root") return outcome(::chmod("/", 0777) == 0);
  if (command == "fork") return fork_once();
  if (command == "unshare user") return outcome(::unshare(CLONE_NEWUSER) == 0);
  if (command == "unshare mount") return outcome(::unshare(CLONE_NEWNS) == 0);
  if (command == "become root") return outcome(::setresuid(0, 0, 0) == 0);
  if (command == "map executable") return map_executable();
  if (command == "make executable") return make_executable();
  if (command == "connect abstract") return connect_abstract();
  if (command == "connect tcp") return connect_tcp();
  if (command == "bind tcp") return bind_tcp();
  if (command == "write beyond") return write_beyond(1 << 20);
  if (command == "lock down") return lock_down();
  if (command == "dumpable") return std::to_string(::prctl(PR_GET_DUMPABLE));
  if (command == "enter filter") return enter_filter();
  if (command == "say") return outcome(::write(sandbox::kLogFd, "hello\n", 6) == 6);
  if (command == "abort") std::abort();
  if (command == "hang")
    for (;;) ::pause();
  return "unknown command";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--layers") {
    for (const auto& layer : sandbox::layers(sandbox::supported_protections()))
      if (layer.present) fmt::print("{} {}\n", layer.name, layer.detail);
    constexpr int kGetMemoryMerge = 68;
    if (::prctl(kGetMemoryMerge, 0, 0, 0, 0) >= 0) fmt::print("merging of pages, to be turned off\n");
    return 0;
  }
  char command[256];
  for (;;) {
    const ssize_t size = ::recv(sandbox::kControlFd, command, sizeof command, 0);
    if (size <= 0) return 7;  // the test is gone
    const std::string answer = run(std::string(command, static_cast<std::size_t>(size)), argc, argv);
    if (::send(sandbox::kControlFd, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) return 8;
  }
}
