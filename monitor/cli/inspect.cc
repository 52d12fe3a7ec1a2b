#include "monitor/cli/inspect.h"

#include <capnp/compat/json.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "ipc/seal.h"
#include "monitor/cli/filters.h"
#include "monitor/cli/machine_client.h"
#include "sandbox/parent.h"
#include "sandbox/policy/blk.h"
#include "sandbox/policy/monitor.h"
#include "sandbox/policy/net.h"
#include "sandbox/policy/vcpu_host.h"
#include "sandbox/seal.h"
#include "sandbox/violation.h"

namespace cli {
namespace {

using ipc::Result;
using ipc::Seal;
namespace fs = std::filesystem;
namespace schema = ipc::schema;

struct Fact {
  std::string name;
  std::string value;
  bool weak = false;  // less than every such process has, or than the configuration requires
};

struct Inspected {
  std::string name;  // "blk0"
  int pid;
  std::vector<Fact> facts;
};

struct Required {
  std::set<std::size_t> layers;
  int landlock_abi = 0;
};

std::string proc(int pid, const std::string& file) {
  return fmt::format("/proc/{}/{}", pid, file);
}

std::string link_of(const fs::path& path) {
  std::error_code error;
  return fs::read_symlink(path, error).string();
}

using Status = std::map<std::string, std::string>;

// Fields of a status file: "Uid" and so on, with single spaces.
Status status_of(const std::string& path) {
  Status fields;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::istringstream words(line.substr(colon + 1));
    std::string value;
    for (std::string word; words >> word;) value += (value.empty() ? "" : " ") + word;
    fields[line.substr(0, colon)] = value;
  }
  return fields;
}

std::string uid_of(Status& status) {
  return status["Uid"].substr(0, status["Uid"].find(' '));
}

Fact new_privileges_of(Status& status) {
  const bool never = status["NoNewPrivs"] == "1";
  return {"new privileges", never ? "never" : "possible", !never};
}

bool is_zero(const std::string& bits) {
  return bits.find_first_not_of('0') == std::string::npos;
}

// "socket:[123]" is a socket, "/memfd:guest-ram (deleted)" is memfd:guest-ram, a path is a file.
std::string kind_of(std::string target) {
  if (target.starts_with("/memfd:")) return target.substr(1, target.find(' ') - 1);
  if (target.starts_with("anon_inode:")) {
    std::erase_if(target, [](char c) { return c == '[' || c == ']'; });
    return target.substr(target.find(':') + 1);
  }
  if (target.starts_with("socket:")) return "socket";
  if (target.starts_with("pipe:")) return "pipe";
  return target.starts_with("/dev/") ? target : "file";
}

std::string descriptors_of(int pid) {
  std::map<std::string, int> kinds;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(proc(pid, "fd"), error)) ++kinds[kind_of(link_of(entry.path()))];
  std::string text;
  for (const auto& [kind, count] : kinds)
    text += fmt::format("{}{}{}", text.empty() ? "" : ", ", count == 1 ? "" : fmt::format("{} ", count), kind);
  return text;
}

struct Mappings {
  bool guest_ram = false;
  bool write_execute = false;
};

Mappings mappings_of(int pid) {
  Mappings found;
  std::ifstream maps(proc(pid, "maps"));
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string range, rights;
    words >> range >> rights;
    found.guest_ram = found.guest_ram || line.find("memfd:guest-ram") != std::string::npos;
    found.write_execute = found.write_execute || (rights.size() == 4 && rights[1] == 'w' && rights[2] == 'x');
  }
  return found;
}

// Of /proc/PID/limits: name, then soft and hard limit.
std::string limit_of(int pid, const std::string& name) {
  std::ifstream limits(proc(pid, "limits"));
  for (std::string line; std::getline(limits, line);) {
    if (!line.starts_with(name)) continue;
    std::istringstream words(line.substr(name.size()));
    std::string soft;
    words >> soft;
    return soft;
  }
  return "unknown";
}

// "23: accept4, brk, …"
std::string list(const std::set<int>& calls) {
  std::set<std::string> names;
  for (const int call : calls) names.insert(sandbox::name_of_call(call));
  return fmt::format("{}{}{}", names.size(), names.empty() ? "" : ": ", fmt::join(names, ", "));
}

std::set<int> calls_in(sandbox::Policy policy) {
  std::set<int> calls;
  for (const sandbox::Rule& rule : policy) calls.insert(rule.syscall);
  return calls;
}

// What the tables give to its threads, one kind or the other: the most that a filter of theirs may let through.
std::vector<std::set<int>> tables_of(const std::string& name) {
  using sandbox::Role;
  if (name == "monitor") return {calls_in(sandbox::kMonitorPolicy)};
  if (name == "vcpu-host") return {calls_in(sandbox::kVcpuPolicy), calls_in(sandbox::kEventLoopPolicy)};
  if (name.starts_with("net")) return {calls_in(sandbox::net_policy(Role::Monitored, true))};
  return {calls_in(sandbox::blk_policy(Role::Monitored, sandbox::BlkIo::RingAndCalls))};
}

std::vector<pid_t> threads_of(int pid) {
  std::vector<pid_t> threads;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(proc(pid, "task"), error))
    threads.push_back(std::stoi(entry.path().filename()));
  return threads;
}

// As the kernel has the filters of all threads. Where it does not tell them to us: as the tables of its programs have
// them.
Fact calls_of(int pid, const std::string& name) {
  const auto tables = tables_of(name);
  std::map<std::set<int>, unsigned> kinds;  // of threads
  bool weak = false;
  for (const pid_t thread : threads_of(pid)) {
    const auto filters = filters_of(thread);
    if (!filters && filters.error().code == ESRCH) continue;  // it has ended meanwhile
    if (!filters) {
      std::vector<std::string> told;
      for (const auto& table : tables) told.push_back(list(table));
      return {"system calls", fmt::format("by its tables, as nobody may see its filters ({}): {}",
                                          ipc::describe(filters.error()), fmt::join(told, "; "))};
    }
    const Passing found = passing(*filters);
    ++kinds[found.calls];
    weak = weak || found.foreign ||
           std::ranges::none_of(tables, [&](const auto& table) { return std::ranges::includes(table, found.calls); });
  }
  std::vector<std::string> told;
  for (const auto& [calls, threads] : kinds)
    told.push_back(calls.size() > 100 ? fmt::format("{} of {} threads may make {} calls", threads,
                                                    threads_of(pid).size(), calls.size())
                   : kinds.size() > 1 ? fmt::format("{} threads {}", threads, list(calls))
                                      : list(calls));
  return {"system calls", fmt::format("{}", fmt::join(told, "; ")), weak};
}

// Of the hierarchy of version 2, which is the one that limits a machine (machine.capnp, MachineLimits).
std::string cgroup_of(int pid) {
  std::ifstream groups(proc(pid, "cgroup"));
  for (std::string line; std::getline(groups, line);)
    if (line.starts_with("0::")) return line.substr(3);
  return "none";
}

Fact namespaces_of(int pid, int spawner, bool with_user) {
  std::vector<std::string> own, shared;
  for (const char* name : {"pid", "mnt", "net", "ipc", "uts", "cgroup", "user"}) {
    if (std::string_view(name) == "user" && !with_user) continue;
    const std::string file = std::string("ns/") + name;
    (link_of(proc(pid, file)) != link_of(proc(spawner, file)) ? own : shared).emplace_back(name);
  }
  if (shared.empty()) return {"namespaces", fmt::format("own {}", fmt::join(own, ", "))};
  return {"namespaces", fmt::format("shared with the spawner: {}", fmt::join(shared, ", ")), true};
}

// By the configuration: what it lacks of `required` is weak, what it lacks of others the host does not have. This much
// no file of /proc tells, and it is its own word, of before the guest could reach it.
Fact seal_of(const Seal& seal, const Required& required) {
  std::vector<std::string> has, lacks;
  const auto layers = sandbox::layers({});
  bool weak = seal.landlock_abi < required.landlock_abi;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const bool present = (seal.layers >> i & 1) != 0;
    const bool landlock = layers[i].name == "Landlock" && present;
    (present ? has : lacks)
        .push_back(landlock ? fmt::format("Landlock ABI {}", seal.landlock_abi) : std::string(layers[i].name));
    weak = weak || (!present && required.layers.contains(i));
  }
  if (seal.layers == 0) return {"sealed", "not yet", true};
  return {"sealed",
          fmt::format("{}{}{}", fmt::join(has, ", "), lacks.empty() ? "" : "; lacks ", fmt::join(lacks, ", ")), weak};
}

// A process that its own uid could trace, or read the memory of.
Fact traceable(int pid, const std::string& uid) {
  struct stat status{};
  const bool open =
      ::stat(proc(pid, "status").c_str(), &status) == 0 && std::to_string(status.st_uid) == uid && uid != "0";
  return {"to be traced", open ? "by its own uid" : "by root alone", open};
}

// No thread has a capability, and each is inside a filter.
std::vector<Fact> rights_of_threads(int pid, const std::string& name) {
  unsigned threads = 0, unfiltered = 0, capable = 0;
  for (const pid_t thread : threads_of(pid)) {
    auto status = status_of(proc(pid, fmt::format("task/{}/status", thread)));
    ++threads;
    if (status["Seccomp"] != "2") ++unfiltered;
    for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
      if (!is_zero(status[set])) {
        ++capable;
        break;
      }
  }
  return {{"threads", std::to_string(threads)},
          unfiltered == 0 ? calls_of(pid, name)
                          : Fact{"system calls", fmt::format("any, of {} of {} threads", unfiltered, threads), true},
          {"capabilities", capable == 0 ? "none" : fmt::format("{} threads have some", capable), capable != 0}};
}

// Of a child of `spawner`. ESRCH if it has gone.
Result<Inspected> inspect_process(const std::string& name, int pid, int spawner, const Seal& seal,
                                  const Required& required) {
  auto status = status_of(proc(pid, "status"));
  auto theirs = status_of(proc(spawner, "status"));
  if (status.empty() || theirs.empty()) return ipc::failure(ESRCH, fmt::format("{} (pid {})", name, pid));
  Inspected process{.name = name, .pid = pid, .facts = {}};
  const auto add = [&](Fact fact) { process.facts.push_back(std::move(fact)); };
  const std::string uid = uid_of(status);
  const std::string their_uid = uid_of(theirs);
  // Where the spawner is root each child has a uid of its own; otherwise a user namespace.
  add({"uid", uid, their_uid == "0" && uid == their_uid});
  add(namespaces_of(pid, spawner, their_uid != "0"));
  for (Fact& fact : rights_of_threads(pid, name)) add(std::move(fact));
  add(new_privileges_of(status));
  add(seal_of(seal, required));
  add(traceable(pid, uid));
  std::error_code error;
  const auto seen = std::distance(fs::directory_iterator(proc(pid, "root"), error), fs::directory_iterator());
  add({"files in sight", error ? "not to be seen" : std::to_string(seen), !error && seen != 0});
  const Mappings mappings = mappings_of(pid);
  add({"guest RAM", mappings.guest_ram ? "mapped" : "not mapped"});
  add({"writable code", mappings.write_execute ? "some" : "none", mappings.write_execute});
  add({"descriptors", descriptors_of(pid)});
  add({"cgroup", cgroup_of(pid)});
  const std::string core = limit_of(pid, "Max core file size");
  add({"limits",
       fmt::format("{} descriptors, {} processes, files of {} bytes, core {}", limit_of(pid, "Max open files"),
                   limit_of(pid, "Max processes"), limit_of(pid, "Max file size"), core),
       core != "0"});
  return process;
}

// The one that keeps privileges, to start the others again.
Inspected inspect_spawner(int pid) {
  auto status = status_of(proc(pid, "status"));
  // Without new privileges what the bounding set has beyond these is out of reach.
  const std::uint64_t capabilities = std::strtoull(status["CapPrm"].c_str(), nullptr, 16);
  const bool ram = mappings_of(pid).guest_ram;
  bool filtered = status["Seccomp"] == "2";
  if (const auto filters = filters_of(pid); filtered && filters) {
    const Passing found = passing(*filters);
    filtered = !found.foreign &&
               std::ranges::none_of(sandbox::kNeverCalled, [&](int call) { return found.calls.contains(call); });
  }
  return {
      .name = "spawner",
      .pid = pid,
      .facts = {{"uid", uid_of(status)},
                {"system calls", filtered ? fmt::format("all but {}", sandbox::kNeverCalled.size()) : "any", !filtered},
                {"capabilities", std::to_string(std::popcount(capabilities)),
                 (capabilities & ~sandbox::kParentCapabilities) != 0},
                new_privileges_of(status),
                {"guest RAM", ram ? "mapped" : "not mapped", ram},
                {"descriptors", descriptors_of(pid)},
                {"cgroup", cgroup_of(pid)}}};
}

// It starts nothing and opens nothing: its namespaces are the host's, which no call of its filter reaches.
Inspected inspect_monitor(int pid, int spawner, const Seal& seal, const Required& required) {
  auto status = status_of(proc(pid, "status"));
  auto theirs = status_of(proc(spawner, "status"));
  const std::string uid = uid_of(status);
  Inspected monitor{.name = "monitor", .pid = pid, .facts = {{"uid", uid, uid == "0"}}};
  for (Fact& fact : rights_of_threads(pid, "monitor"))
    // As an ordinary user's it never had any, and a bounding set that bounds nothing.
    if (fact.name != "capabilities" || uid_of(theirs) == "0") monitor.facts.push_back(std::move(fact));
  const bool ram = mappings_of(pid).guest_ram;
  for (Fact fact : {new_privileges_of(status), seal_of(seal, required), traceable(pid, uid),
                    Fact{"guest RAM", ram ? "mapped" : "not mapped", ram}, Fact{"descriptors", descriptors_of(pid)},
                    Fact{"cgroup", cgroup_of(pid)}})
    monitor.facts.push_back(std::move(fact));
  return monitor;
}

struct Machine {
  std::string name;
  int monitor = 0, spawner = 0;
  Seal seal;  // the monitor's
  Required required;
  bool running = false;
  struct Process {
    std::string name;
    int pid;
    unsigned restarts;
    std::string cause, gaps;
    Seal seal;
  };
  std::vector<Process> processes;
};

Result<Machine> ask_status(const std::string& vm) {
  Machine machine;
  TRY(ask_machine(
      vm, [](schema::MachineRequest::Builder request) { request.setStatus(); },
      [&](schema::MachineAnswer::Reader answer) -> Result<> {
        if (!answer.isStatus()) return ipc::failure(EBADMSG, "another answer than asked for");
        const auto status = answer.getStatus();
        machine.name = status.getName().cStr();
        machine.monitor = status.getMonitor();
        machine.spawner = status.getSpawner();
        machine.seal = Seal::told(status.getSeal());
        machine.required.landlock_abi = status.getIsolation().getLandlockAbi();
        for (const auto layer : status.getIsolation().getRequire())
          machine.required.layers.insert(static_cast<std::size_t>(layer));
        machine.running = status.getRunning();
        for (const auto process : status.getProcesses())
          machine.processes.push_back({process.getName().cStr(), process.getPid(), process.getRestarts(),
                                       process.getCause().cStr(), process.getGaps().cStr(),
                                       Seal::told(process.getSeal())});
        return {};
      }));
  return machine;
}

std::vector<Inspected> inspect_all(const Machine& machine) {
  std::vector<Inspected> all{inspect_spawner(machine.spawner),
                             inspect_monitor(machine.monitor, machine.spawner, machine.seal, machine.required)};
  for (const auto& process : machine.processes) {
    auto inspected = process.pid > 0
                         ? inspect_process(process.name, process.pid, machine.spawner, process.seal, machine.required)
                         : Result<Inspected>(Inspected{process.name, 0, {}});
    if (!inspected) inspected = Inspected{process.name, process.pid, {{"state", "it has gone meanwhile"}}};
    if (process.pid == 0) inspected->facts.push_back({"state", "not a process of this machine, or being replaced"});
    if (process.restarts > 0) {
      inspected->facts.push_back({"replaced", fmt::format("{} times, last: {}", process.restarts, process.cause)});
      if (!process.gaps.empty()) inspected->facts.push_back({"the guest waited", process.gaps});
    }
    all.push_back(std::move(*inspected));
  }
  return all;
}

// Long lists go on beneath their beginning.
std::string wrapped(const std::string& text) {
  constexpr std::size_t kColumns = 96, kIndent = 19;
  std::string lines;
  std::size_t column = 0;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (column > 0) lines += column + 1 + word.size() > kColumns ? "\n" + std::string(kIndent, ' ') : " ";
    column = column + 1 + word.size() > kColumns ? word.size() : column + (column > 0) + word.size();
    lines += word;
  }
  return lines;
}

void print_table(const Machine& machine, const std::vector<Inspected>& all) {
  fmt::print("{}: monitor {}, {}\n", machine.name, machine.monitor,
             machine.running ? "the guest runs" : "it is being set up");
  for (const Inspected& process : all) {
    fmt::print("\n{} ({})\n", process.name, process.pid);
    for (const Fact& fact : process.facts)
      fmt::print("  {:<16} {}{}\n", fact.name, wrapped(fact.value), fact.weak ? "   <- WEAK" : "");
  }
}

void print_json(const Machine& machine, const std::vector<Inspected>& all, bool strong) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<capnp::JsonValue>().initObject(4);
  const auto text = [](capnp::JsonValue::Field::Builder field, const std::string& name, const std::string& value) {
    field.setName(name);
    field.initValue().setString(value);
  };
  const auto number = [](capnp::JsonValue::Field::Builder field, const std::string& name, double value) {
    field.setName(name);
    field.initValue().setNumber(value);
  };
  const auto truth = [](capnp::JsonValue::Field::Builder field, const std::string& name, bool value) {
    field.setName(name);
    field.initValue().setBoolean(value);
  };
  text(root[0], "name", machine.name);
  number(root[1], "monitor", machine.monitor);
  truth(root[2], "strong", strong);
  root[3].setName("processes");
  auto list = root[3].initValue().initArray(static_cast<unsigned>(all.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    auto fields = list[i].initObject(3);
    text(fields[0], "name", all[i].name);
    number(fields[1], "pid", all[i].pid);
    fields[2].setName("facts");
    auto facts = fields[2].initValue().initArray(static_cast<unsigned>(all[i].facts.size()));
    for (unsigned k = 0; k < facts.size(); ++k) {
      auto fact = facts[k].initObject(3);
      text(fact[0], "name", all[i].facts[k].name);
      text(fact[1], "value", all[i].facts[k].value);
      truth(fact[2], "weak", all[i].facts[k].weak);
    }
  }
  capnp::JsonCodec codec;
  codec.setPrettyPrint(true);
  fmt::print("{}\n", codec.encodeRaw(message.getRoot<capnp::JsonValue>().asReader()).cStr());
}

}  // namespace

Result<bool> inspect_machine(const std::string& vm, bool json) {
  const Machine machine = TRY(ask_status(vm));
  const std::vector<Inspected> all = inspect_all(machine);
  const bool strong = std::ranges::none_of(
      all, [](const Inspected& process) { return std::ranges::any_of(process.facts, &Fact::weak); });
  if (json)
    print_json(machine, all, strong);
  else
    print_table(machine, all);
  return strong;
}

}  // namespace cli
