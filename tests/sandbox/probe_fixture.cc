#include "tests/sandbox/probe_fixture.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace support {

std::string Probe::ask(const std::string& command) {
  char answer[512];
  ssize_t size = ::send(control.get(), command.data(), command.size(), MSG_NOSIGNAL);
  if (size > 0) size = ::recv(control.get(), answer, sizeof answer, 0);
  if (size > 0) return std::string(answer, static_cast<std::size_t>(size));
  const auto exit = process.wait();
  return exit ? exit->describe() : ipc::describe(exit.error());
}

std::string probe_path() {
  const char* const other = std::getenv("BULKHEAD_PROBE");  // a mutant's (mutants.py)
  return other != nullptr ? other : BULKHEAD_PROBE;
}

ipc::UniqueFd probe_program() {
  const std::string path = probe_path();
  ipc::UniqueFd program(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!program) throw std::runtime_error("cannot open " + path);
  return program;
}

ipc::Result<Probe> spawn_probe(const ipc::UniqueFd& program, std::optional<sandbox::Identity> identity,
                               const sandbox::Limits& limits, std::vector<std::string> arguments,
                               const ipc::UniqueFd* cgroup) {
  int sockets[2];
  int log[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) return ipc::system_failure("socketpair");
  ipc::UniqueFd ours(sockets[0]);
  ipc::UniqueFd theirs(sockets[1]);
  if (::pipe2(log, O_CLOEXEC) != 0) return ipc::system_failure("pipe2");
  ipc::UniqueFd log_out(log[0]);
  ipc::UniqueFd log_in(log[1]);
  auto process = TRY(sandbox::spawn({.name = "probe",
                                     .program = program,
                                     .arguments = std::move(arguments),
                                     .control = std::move(theirs),
                                     .log = std::move(log_in),
                                     .identity = identity,
                                     .limits = limits,
                                     .cgroup = cgroup}));
  return Probe{std::move(process), std::move(ours), std::move(log_out)};
}

std::string in_fork(const std::function<std::string()>& body) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) return "pipe2";
  const ipc::UniqueFd out(pipe[0]);
  ipc::UniqueFd in(pipe[1]);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const std::string text = body();
    ::_exit(::write(in.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  in = ipc::UniqueFd();
  std::string text(1024, '\0');
  const ssize_t size = ::read(out.get(), text.data(), text.size());
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  ::waitpid(pid, nullptr, 0);
  return text;
}

std::optional<std::string> cannot_jail() {
#ifdef BULKHEAD_SANITIZED
  return "built with sanitizers: children run outside the sandbox";
#else
  if (::geteuid() != 0) return "needs root";
  return std::nullopt;
#endif
}

std::string file_of(pid_t pid, const std::string& name) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/" + name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::map<std::string, std::string> status_of(pid_t pid) {
  std::map<std::string, std::string> fields;
  std::istringstream lines(file_of(pid, "status"));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(':');
    std::istringstream words(line.substr(colon + 1));
    std::string value;
    for (std::string word; words >> word;) value += (value.empty() ? "" : " ") + word;
    fields[line.substr(0, colon)] = value;
  }
  return fields;
}

std::string link_of(pid_t pid, const std::string& name) {
  return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/" + name).string();
}

std::vector<std::string> entries_of(pid_t pid, const std::string& name) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/" + name))
    names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

}  // namespace support
