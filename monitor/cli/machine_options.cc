#include "monitor/cli/machine_options.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string_view>

namespace cli {

using ipc::failure;
using ipc::Result;
namespace schema = ipc::schema;

namespace {

std::unexpected<ipc::Error> wrong(std::string what) {
  return failure(0, std::move(what));
}

template <class Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Result<std::uint16_t> parse_count(const std::string& what, std::string_view text) {
  const auto value = parse_number<std::uint16_t>(text);
  if (!value || *value == 0) return wrong(fmt::format("{} {}: a whole number from 1 to 65535 is right", what, text));
  return *value;
}

// "a=b,c=d" in its parts; a comma inside of a value is written twice.
std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != ',') {
      parts.back() += text[i];
    } else if (i + 1 < text.size() && text[i + 1] == ',') {
      parts.back() += text[++i];
    } else {
      parts.emplace_back();
    }
  }
  return parts;
}

using Fields = std::map<std::string, std::string, std::less<>>;

// The key=value parts of an option, each key once and one of `keys`. `usage` is what the whole option
// looks like when it is right.
Result<Fields> parse_fields(std::string_view option, std::span<const std::string> parts,
                            std::initializer_list<std::string_view> keys, std::string_view usage) {
  Fields fields;
  for (const std::string& part : parts) {
    const std::size_t equals = part.find('=');
    const std::string key = part.substr(0, equals);
    if (equals == std::string::npos || std::ranges::find(keys, key) == keys.end())
      return wrong(fmt::format("{}: unknown part \"{}\"; {} is right", option, part, usage));
    if (!fields.emplace(key, part.substr(equals + 1)).second)
      return wrong(fmt::format("{}: {} is there twice", option, key));
  }
  return fields;
}

Result<> describe_disk(const std::string& text, schema::Disk::Builder disk) {
  constexpr std::string_view kUsage =
      "path=FILE[,readonly=on|off][,serial=TEXT][,queues=N][,cache=auto|direct|writeback]";
  Fields fields = TRY(parse_fields("--disk", split(text), {"path", "readonly", "serial", "queues", "cache"}, kUsage));
  if (fields["path"].empty()) return wrong(fmt::format("--disk {}: no path; {} is right", text, kUsage));
  disk.setPath(fields["path"]);
  disk.setSerial(fields["serial"]);
  if (const auto readonly = fields.find("readonly"); readonly != fields.end()) {
    if (readonly->second != "on" && readonly->second != "off")
      return wrong(fmt::format("--disk: readonly={}; on or off is right", readonly->second));
    disk.setReadonly(readonly->second == "on");
  }
  if (const auto queues = fields.find("queues"); queues != fields.end())
    disk.setQueues(TRY(parse_count("--disk: queues", queues->second)));
  if (const auto cache = fields.find("cache"); cache != fields.end()) {
    if (cache->second == "direct")
      disk.setCache(schema::Disk::Cache::DIRECT);
    else if (cache->second == "writeback")
      disk.setCache(schema::Disk::Cache::WRITEBACK);
    else if (cache->second != "auto")
      return wrong(fmt::format("--disk: cache={}; auto, direct or writeback is right", cache->second));
  }
  return {};
}

// "a b" as two texts: several values of one key.
std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> list;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find(' ', start), text.size());
    if (end > start) list.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return list;
}

void fill(capnp::List<capnp::Text>::Builder list, const std::vector<std::string>& texts) {
  for (unsigned i = 0; i < list.size(); ++i) list.set(i, texts[i]);
}

Result<> describe_net(const std::string& text, schema::Net::Builder net) {
  constexpr std::string_view kUsage =
      "tap[=NAME][,bridge=NAME]|user[,hostfwd=tcp:HOSTPORT:GUESTPORT]|pair=PATH, then "
      "[,mac=MAC][,mtu=N][,queues=N][,address=ADDR][,spoofing=on][,flood=N]";
  const std::vector<std::string> parts = split(text);
  const std::size_t equals = parts.front().find('=');
  const std::string kind = parts.front().substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : parts.front().substr(equals + 1);
  Fields fields =
      TRY(parse_fields("--net", std::span(parts).subspan(1),
                       {"bridge", "hostfwd", "mac", "mtu", "queues", "address", "spoofing", "flood"}, kUsage));
  const auto only = [&](std::string_view key, std::string_view of) -> Result<> {
    if (fields.contains(key) && kind != of) return wrong(fmt::format("--net {}: {} is of {}", text, key, of));
    return {};
  };
  TRY(only("bridge", "tap"));
  TRY(only("hostfwd", "user"));
  if (kind == "tap") {
    net.initTap().setName(value);
    net.getTap().setBridge(fields["bridge"]);
  } else if (kind == "user" && equals == std::string::npos) {
    const auto forwards = words(fields["hostfwd"]);
    fill(net.initUser().initForwards(static_cast<unsigned>(forwards.size())), forwards);
  } else if (kind == "pair" && !value.empty()) {
    net.setPair(value);
  } else {
    return wrong(fmt::format("--net {}: {} is right", text, kUsage));
  }
  net.setMac(fields["mac"]);
  if (fields.contains("mtu")) net.setMtu(TRY(parse_count("--net: mtu", fields["mtu"])));
  if (fields.contains("queues")) net.setQueuePairs(TRY(parse_count("--net: queues", fields["queues"])));
  if (fields.contains("flood")) net.setFlood(TRY(parse_count("--net: flood", fields["flood"])));
  const auto addresses = words(fields["address"]);
  fill(net.initAddresses(static_cast<unsigned>(addresses.size())), addresses);
  if (fields.contains("spoofing")) {
    if (fields["spoofing"] != "on" && fields["spoofing"] != "off")
      return wrong(fmt::format("--net: spoofing={}; on or off is right", fields["spoofing"]));
    net.setAllowSpoofing(fields["spoofing"] == "on");
  }
  return {};
}

Result<> describe_device(const std::string& text, schema::Device::Builder device) {
  constexpr std::string_view kUsage = "vhost-user,socket=PATH,id=NUMBER[,queues=N]";
  const std::vector<std::string> parts = split(text);
  if (parts.front() != "vhost-user")
    return wrong(fmt::format("--device {}: unknown kind \"{}\"; {} is right", text, parts.front(), kUsage));
  Fields fields = TRY(parse_fields("--device", std::span(parts).subspan(1), {"socket", "id", "queues"}, kUsage));
  if (fields["socket"].empty()) return wrong(fmt::format("--device {}: no socket; {} is right", text, kUsage));
  device.setSocket(fields["socket"]);
  if (fields["id"].empty()) return wrong(fmt::format("--device {}: no id; {} is right", text, kUsage));
  device.setId(TRY(parse_count("--device: id", fields["id"])));
  if (const auto queues = fields.find("queues"); queues != fields.end())
    device.setQueues(TRY(parse_count("--device: queues", queues->second)));
  return {};
}

Result<> describe_serial(const std::string& text, schema::Serial::Builder serial) {
  constexpr std::string_view kFile = "file=";
  if (text == "stdio") {
    serial.setStdio();
  } else if (text == "pty") {
    serial.setPty();
  } else if (text == "none") {
    serial.setNone();
  } else if (text.starts_with(kFile) && text.size() > kFile.size()) {
    serial.setFile(text.substr(kFile.size()));
  } else {
    return wrong(fmt::format("--serial {}: stdio, pty, none or file=PATH is right", text));
  }
  return {};
}

// Each is a layer's name, "deny-write-execute" and so on, or "landlock:N".
Result<> describe_isolation(const std::vector<std::string>& required, schema::Isolation::Builder isolation) {
  using Layer = schema::Isolation::Layer;
  constexpr std::pair<std::string_view, Layer> kLayers[] = {{"no-new-privileges", Layer::NO_NEW_PRIVILEGES},
                                                            {"not-dumpable", Layer::NOT_DUMPABLE},
                                                            {"deny-write-execute", Layer::DENY_WRITE_EXECUTE},
                                                            {"landlock", Layer::LANDLOCK},
                                                            {"seccomp", Layer::SECCOMP},
                                                            {"core-scheduling", Layer::CORE_SCHEDULING}};
  constexpr std::string_view kAbi = "landlock:";
  auto layers = isolation.initRequire(static_cast<unsigned>(required.size()));
  for (unsigned i = 0; i < layers.size(); ++i) {
    const std::string_view text = required[i];
    const auto abi = text.starts_with(kAbi) ? parse_number<std::uint16_t>(text.substr(kAbi.size())) : std::nullopt;
    const auto* found = std::ranges::find(kLayers, text, &std::pair<std::string_view, Layer>::first);
    if (found == std::end(kLayers) && (!abi || *abi == 0))
      return wrong(
          fmt::format("--require {}: no-new-privileges, not-dumpable, deny-write-execute, landlock, landlock:N, "
                      "seccomp or core-scheduling is right",
                      text));
    layers.set(i, abi ? Layer::LANDLOCK : found->second);
    if (abi) isolation.setLandlockAbi(std::max(isolation.getLandlockAbi(), *abi));
  }
  return {};
}

// "512M", "2G", "1T", "512" (MiB), in MiB.
Result<std::uint32_t> parse_memory(std::string_view option, const std::string& text) {
  const std::string_view all = text;
  const bool has_unit = all.ends_with('M') || all.ends_with('G') || all.ends_with('T');
  const unsigned shift = all.ends_with('T') ? 20 : all.ends_with('G') ? 10 : 0;
  const auto value = parse_number<std::uint32_t>(all.substr(0, all.size() - (has_unit ? 1 : 0)));
  if (!value || *value == 0 || *value > std::numeric_limits<std::uint32_t>::max() >> shift)
    return wrong(fmt::format("{} {}: a size such as 512M or 2G, or a number of MiB, is right", option, text));
  return *value << shift;
}

Result<> describe_limits(const std::string& text, schema::MachineLimits::Builder limits) {
  constexpr std::string_view kUsage = "[memory=SIZE][,processes=N][,cpu=PERCENT][,io-weight=N][,cgroup=PATH]";
  Fields fields =
      TRY(parse_fields("--limits", split(text), {"memory", "processes", "cpu", "io-weight", "cgroup"}, kUsage));
  if (fields.contains("memory")) limits.setMemoryMib(TRY(parse_memory("--limits: memory", fields["memory"])));
  if (fields.contains("processes")) limits.setProcesses(TRY(parse_count("--limits: processes", fields["processes"])));
  if (fields.contains("cpu")) limits.setCpuPercent(TRY(parse_count("--limits: cpu", fields["cpu"])));
  if (fields.contains("io-weight")) limits.setIoWeight(TRY(parse_count("--limits: io-weight", fields["io-weight"])));
  limits.setCgroup(fields["cgroup"]);
  return {};
}

}  // namespace

Result<> describe_machine(const MachineOptions& options, schema::Machine::Builder machine) {
  machine.setName(options.name);
  machine.setCpus(TRY(parse_count("--cpus", options.cpus)));
  machine.setMemoryMib(TRY(parse_memory("--memory", options.memory)));
  machine.setKernel(options.kernel);
  machine.setInitrd(options.initrd);
  machine.setCmdline(options.cmdline);
  machine.setControl(options.control);
  TRY(describe_isolation(options.required, machine.initIsolation()));
  if (!options.limits.empty()) TRY(describe_limits(options.limits, machine.initLimits()));
  auto disks = machine.initDisks(static_cast<unsigned>(options.disks.size()));
  for (unsigned i = 0; i < disks.size(); ++i) TRY(describe_disk(options.disks[i], disks[i]));
  auto nets = machine.initNets(static_cast<unsigned>(options.nets.size()));
  for (unsigned i = 0; i < nets.size(); ++i) TRY(describe_net(options.nets[i], nets[i]));
  auto devices = machine.initDevices(static_cast<unsigned>(options.devices.size()));
  for (unsigned i = 0; i < devices.size(); ++i) TRY(describe_device(options.devices[i], devices[i]));
  return describe_serial(options.serial, machine.initSerial());
}

}  // namespace cli
