// record --rows                  every row of every table, and every operation of every io_uring: "TABLE<tab>ROW"
// record FILE COMMAND...         runs it, and writes to FILE those that its processes, all that it starts, used
//
// Their programs are linked with filter.cc and ring.cc.
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <set>
#include <string_view>

#include "tests/sandbox/recorder/numbers.h"
#include "tests/support/policies.h"
#include "tests/support/tables.h"

namespace {

using support::kPolicies;
using Rows = std::set<std::string>;

std::string operation(std::string_view policy, unsigned opcode) {
  return fmt::format("{}\toperation {}", policy, opcode);
}

std::string row(const support::NamedPolicy& policy, std::size_t number) {
  return fmt::format("{}\t{}", policy.name, support::describe(policy.rules[number]));
}

Rows all_rows() {
  Rows all;
  for (const auto& policy : kPolicies) {
    for (std::size_t i = 0; i < policy.rules.size(); ++i) all.insert(row(policy, i));
    std::span<const sandbox::RingRule> operations = sandbox::kNetRingOpcodes;
    if (policy.name.starts_with("blk")) operations = sandbox::kBlkRingOpcodes;
    if (policy.name.ends_with("pinned memory")) operations = sandbox::kBlkPinnedRingOpcodes;
    if (policy.rules[0].syscall == SYS_io_uring_enter)
      for (const auto& rule : operations) all.insert(operation(policy.name, rule.operation));
  }
  return all;
}

void note(pid_t thread, Rows& used) {
  __ptrace_syscall_info call{};
  if (::ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof call, &call) <= 0) return;  // killed meanwhile
  if (call.op != PTRACE_SYSCALL_INFO_SECCOMP) return;
  const auto& policy = kPolicies.at(call.seccomp.ret_data / recorder::kMostRows);
  used.insert(call.seccomp.nr == recorder::kOperation
                  ? operation(policy.name, static_cast<unsigned>(call.seccomp.args[0]))
                  : row(policy, call.seccomp.ret_data % recorder::kMostRows));
}

void resume(int request, pid_t thread, int signal) {
  ::ptrace(static_cast<__ptrace_request>(request), thread, 0, signal);  // fails if it was killed meanwhile
}

// The status of the command; all that it used.
int follow(pid_t command, Rows& used) {
  while (true) {
    int status = 0;
    const pid_t thread = ::waitpid(-1, &status, __WALL);
    if (thread < 0) return 127;
    if (!WIFSTOPPED(status)) {
      if (thread != command) continue;
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    const int signal = WSTOPSIG(status);
    switch (status >> 16) {
      case 0:
        resume(PTRACE_CONT, thread, signal);
        break;
      case PTRACE_EVENT_STOP:  // of a group that stops, or of a thread that begins
        resume(signal == SIGTRAP ? PTRACE_CONT : PTRACE_LISTEN, thread, 0);
        break;
      case PTRACE_EVENT_SECCOMP:
        note(thread, used);
        [[fallthrough]];
      default:
        resume(PTRACE_CONT, thread, 0);
    }
  }
}

pid_t start(char** command) {
  int ready[2];
  if (::pipe(ready) != 0) return -1;
  const pid_t child = ::fork();
  if (child == 0) {
    char word = 0;
    ::close(ready[1]);
    if (::read(ready[0], &word, 1) != 1) ::_exit(127);
    ::close(ready[0]);
    ::execvp(command[0], command);
    ::_exit(127);
  }
  constexpr long kOptions =
      PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
  const bool seized = ::ptrace(PTRACE_SEIZE, child, 0, kOptions) == 0;
  if (!seized) std::perror("record: ptrace");
  const bool told = seized && ::write(ready[1], "", 1) == 1;
  ::close(ready[0]);
  ::close(ready[1]);
  return told ? child : -1;
}

void print(const Rows& rows, std::ostream& out) {
  for (const std::string& text : rows) out << text << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--rows") return print(all_rows(), std::cout), 0;
  if (argc < 3) return 2;
  Rows used;
  const pid_t command = start(argv + 2);
  const int status = command < 0 ? 127 : follow(command, used);
  std::ofstream file(argv[1]);
  print(used, file);
  return file.flush() ? status : 127;
}
