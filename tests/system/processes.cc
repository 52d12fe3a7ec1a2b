#include "tests/system/processes.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <ostream>
#include <regex>
#include <set>
#include <sstream>

namespace system_test {
namespace {

namespace fs = std::filesystem;

// Guest RAM's memfd, as the monitor names it.
constexpr const char* kGuestRam = "memfd:guest-ram";

std::string proc(pid_t pid, const std::string& file) {
  return "/proc/" + std::to_string(pid) + "/" + file;
}

// Of a process that ends meanwhile: nothing.
std::string read_file(const std::string& path) {
  std::ifstream file(path);
  try {
    return {std::istreambuf_iterator<char>(file), {}};
  } catch (const std::ios_base::failure&) {
    return {};
  }
}

std::string link_target(const std::string& path) {
  std::error_code error;
  return fs::read_symlink(path, error).string();
}

// The fields of /proc/PID/stat after the command name: [0] state, [1] parent, [19] start time.
std::vector<std::string> stat_fields(pid_t pid) {
  const std::string stat = read_file(proc(pid, "stat"));
  const std::size_t end = stat.rfind(')');
  if (end == std::string::npos) return {};
  std::istringstream words(stat.substr(end + 1));
  return {std::istream_iterator<std::string>(words), {}};
}

std::vector<pid_t> all_processes() {
  std::vector<pid_t> pids;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") == std::string::npos) pids.push_back(std::stoi(name));
  }
  return pids;
}

std::string name_of(pid_t pid) {
  const std::string command = read_file(proc(pid, "cmdline"));
  return fs::path(command.substr(0, command.find('\0'))).filename();
}

// "socket:[4711]" → "socket"; "/memfd:guest-ram (deleted)" → "memfd:guest-ram".
std::string kind_of(std::string target) {
  target = std::regex_replace(target, std::regex(R"(:\[\d+\]$)"), "");
  target = std::regex_replace(target, std::regex(R"( \(deleted\)$)"), "");
  target = std::regex_replace(target, std::regex(R"(^/memfd:)"), "memfd:");
  target = std::regex_replace(target, std::regex(R"(kvm-vcpu:\d+)"), "kvm-vcpu");
  target = std::regex_replace(target, std::regex(R"(^\[vvar.*\]$)"), "[vvar]");
  return target.starts_with('/') && !target.starts_with("/dev/") ? "file " + fs::path(target).filename().string()
                                                                 : target;
}

void describe_descriptors(pid_t pid, std::ostream& out) {
  std::map<std::string, int> kinds;
  for (const fs::directory_entry& entry : fs::directory_iterator(proc(pid, "fd"))) {
    ++kinds[kind_of(link_target(entry.path()))];
  }
  for (const auto& [kind, count] : kinds) out << "descriptor " << kind << ": " << count << "\n";
}

void describe_mappings(pid_t pid, std::ostream& out) {
  std::set<std::string> mappings;
  std::istringstream maps(read_file(proc(pid, "maps")));
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string range, rights, offset, device, inode, name;
    words >> range >> rights >> offset >> device >> inode;
    std::getline(words >> std::ws, name);
    mappings.insert(rights + " " + (name.empty() ? "anonymous" : kind_of(name)));
  }
  for (const std::string& mapping : mappings) out << "mapping " << mapping << "\n";
}

std::vector<std::string> entries(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) names.push_back(entry.path());
  return names;
}

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

}  // namespace

std::string status_field(pid_t pid, const std::string& name) {
  std::smatch match;
  const std::string status = read_file(proc(pid, "status"));
  if (!std::regex_search(status, match, std::regex("(?:^|\n)" + name + ":[ \t]*([^\n]*)"))) return "absent";
  return std::regex_replace(std::regex_replace(match[1].str(), std::regex("[ \t]+"), " "), std::regex(" $"), "");
}

std::vector<Process> children_of(pid_t parent) {
  std::vector<Process> found;
  for (const pid_t pid : all_processes()) {
    const std::vector<std::string> fields = stat_fields(pid);
    if (fields.size() < 20 || fields[1] != std::to_string(parent)) continue;
    found.push_back({pid, name_of(pid), std::stoull(fields[19])});
    const std::vector<Process> below = children_of(pid);
    found.insert(found.end(), below.begin(), below.end());
  }
  return found;
}

const Process* find_by_name(const std::vector<Process>& processes, const std::string& name) {
  const auto found = std::ranges::find(processes, name, &Process::name);
  return found == processes.end() ? nullptr : &*found;
}

bool exists(const Process& process) {
  const std::vector<std::string> fields = stat_fields(process.pid);
  return fields.size() >= 20 && fields[0] != "Z" && fields[19] == std::to_string(process.born);
}

Footprint footprint() {
  Footprint now;
  for (const pid_t pid : all_processes()) {
    if (name_of(pid).starts_with("bulkhead")) now.processes.push_back(name_of(pid));
  }
  for (const char* directory : {"/run", "/dev/shm"}) {
    for (std::string& name : entries(directory)) now.files.push_back(std::move(name));
  }
  // Others use /tmp too.
  for (std::string& name : entries("/tmp")) {
    if (name.starts_with("/tmp/bulkhead")) now.files.push_back(std::move(name));
  }
  now.mounts = lines_of("/proc/self/mounts");
  now.cgroups = entries("/sys/fs/cgroup");
  for (auto* list : {&now.processes, &now.files, &now.cgroups}) std::ranges::sort(*list);
  return now;
}

std::ostream& operator<<(std::ostream& out, const Footprint& footprint) {
  for (const auto* list : {&footprint.processes, &footprint.files, &footprint.mounts, &footprint.cgroups}) {
    for (const std::string& entry : *list) out << entry << "\n";
  }
  return out;
}

std::string describe(pid_t process, pid_t spawner) {
  std::ostringstream out;
  if (process != spawner) {
    const bool same = status_field(process, "Uid") == status_field(spawner, "Uid");
    out << "uid: " << (same ? "the spawner's" : "its own") << "\n";
  }
  const std::string groups = status_field(process, "Groups");
  out << "supplementary groups: " << (groups.empty() ? "none" : groups) << "\n";
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    const std::string value = status_field(process, set);
    out << set << ": " << (value.find_first_not_of('0') == std::string::npos ? "none" : "some") << "\n";
  }
  for (const char* field : {"NoNewPrivs", "Seccomp"}) out << field << ": " << status_field(process, field) << "\n";
  const auto filters = [](pid_t of) { return std::stoi(status_field(of, "Seccomp_filters")); };
  if (process != spawner) out << "filters of its own: " << filters(process) - filters(spawner) << "\n";
  std::smatch limit;
  const std::string limits = read_file(proc(process, "limits"));
  for (const char* name : {"Max core file size", "Max open files"}) {
    if (std::regex_search(limits, limit, std::regex(std::string(name) + R"(\s+(\S+))")))
      out << name << ": " << limit[1] << "\n";
  }
  if (process != spawner) {
    for (const char* name : {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"}) {
      const std::string file = std::string("ns/") + name;
      out << "namespace " << name << ": "
          << (link_target(proc(process, file)) == link_target(proc(spawner, file)) ? "the spawner's" : "its own")
          << "\n";
    }
    out << "root: " << entries(proc(process, "root")).size() << " entries\n";
  }
  describe_descriptors(process, out);
  describe_mappings(process, out);
  return out.str();
}

std::uint64_t own_memory_kib(pid_t process) {
  std::uint64_t total = 0;
  bool guest_ram = false;
  std::istringstream maps(read_file(proc(process, "smaps")));
  for (std::string line; std::getline(maps, line);) {
    if (std::regex_search(line, std::regex(R"(^[0-9a-f]+-[0-9a-f]+ )"))) {
      guest_ram = line.find(kGuestRam) != std::string::npos;
    } else if (line.starts_with("Pss:") && !guest_ram) {
      total += std::stoull(line.substr(4));
    }
  }
  return total;
}

}  // namespace system_test
