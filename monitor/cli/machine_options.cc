#include "monitor/cli/machine_options.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <limits>
#include <map>
#include <optional>
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
  if (!value) return wrong(fmt::format("{} {}: a whole number, at most 65535, is right", what, text));
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

using Setter = std::function<Result<>(const std::string& value)>;

// Hands each key=value to its setter. `usage` is what the whole option looks like when it is right.
Result<> assign(std::string_view option, std::span<const std::string> parts, std::string_view usage,
                const std::map<std::string, Setter, std::less<>>& setters) {
  std::vector<std::string> seen;
  for (const std::string& part : parts) {
    const std::size_t equals = part.find('=');
    const std::string key = part.substr(0, equals);
    const auto setter = setters.find(key);
    if (equals == std::string::npos || setter == setters.end())
      return wrong(fmt::format("{}: unknown part \"{}\"; {} is right", option, part, usage));
    if (std::ranges::find(seen, key) != seen.end()) return wrong(fmt::format("{}: {} is there twice", option, key));
    seen.push_back(key);
    TRY(setter->second(part.substr(equals + 1)));
  }
  return {};
}

Result<> describe_disk(const std::string& text, schema::Disk::Builder disk) {
  constexpr std::string_view kUsage = "path=FILE[,readonly=on|off][,serial=TEXT][,queues=N]";
  TRY(assign("--disk", split(text), kUsage,
             {{"path",
               [&](const std::string& value) -> Result<> {
                 disk.setPath(value);
                 return {};
               }},
              {"readonly",
               [&](const std::string& value) -> Result<> {
                 if (value != "on" && value != "off")
                   return wrong(fmt::format("--disk: readonly={}; on or off is right", value));
                 disk.setReadonly(value == "on");
                 return {};
               }},
              {"serial",
               [&](const std::string& value) -> Result<> {
                 disk.setSerial(value);
                 return {};
               }},
              {"queues", [&](const std::string& value) -> Result<> {
                 disk.setQueues(TRY(parse_count("--disk: queues", value)));
                 if (disk.getQueues() == 0) return wrong("--disk: queues=0; 1 or more is right");
                 return {};
               }}}));
  if (disk.getPath().size() == 0) return wrong(fmt::format("--disk {}: no path; {} is right", text, kUsage));
  return {};
}

Result<> describe_device(const std::string& text, schema::Device::Builder device) {
  constexpr std::string_view kUsage = "vhost-user,socket=PATH,id=NUMBER[,queues=N]";
  const std::vector<std::string> parts = split(text);
  if (parts.front() != "vhost-user")
    return wrong(fmt::format("--device {}: unknown kind \"{}\"; {} is right", text, parts.front(), kUsage));
  TRY(assign("--device", std::span(parts).subspan(1), kUsage,
             {{"socket",
               [&](const std::string& value) -> Result<> {
                 device.setSocket(value);
                 return {};
               }},
              {"id",
               [&](const std::string& value) -> Result<> {
                 device.setId(TRY(parse_count("--device: id", value)));
                 return {};
               }},
              {"queues", [&](const std::string& value) -> Result<> {
                 device.setQueues(TRY(parse_count("--device: queues", value)));
                 return {};
               }}}));
  if (device.getSocket().size() == 0) return wrong(fmt::format("--device {}: no socket; {} is right", text, kUsage));
  if (device.getId() == 0) return wrong(fmt::format("--device {}: no id; {} is right", text, kUsage));
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

}  // namespace

Result<std::uint32_t> parse_memory(const std::string& text) {
  const auto refuse = [&] { return wrong(fmt::format("--memory {}: a size such as 512M or 2G is right", text)); };
  const std::map<char, unsigned> shifts{{'M', 0}, {'G', 10}, {'T', 20}};
  if (text.empty()) return refuse();
  const auto unit = shifts.find(text.back());
  if (unit == shifts.end()) return refuse();
  const auto value = parse_number<std::uint32_t>(std::string_view(text).substr(0, text.size() - 1));
  if (!value || *value > std::numeric_limits<std::uint32_t>::max() >> unit->second) return refuse();
  return *value << unit->second;
}

Result<> describe_machine(const MachineOptions& options, schema::Machine::Builder machine) {
  machine.setName(options.name);
  machine.setCpus(TRY(parse_count("--cpus", options.cpus)));
  machine.setMemoryMib(TRY(parse_memory(options.memory)));
  machine.setKernel(options.kernel);
  machine.setInitrd(options.initrd);
  machine.setCmdline(options.cmdline);
  auto disks = machine.initDisks(static_cast<unsigned>(options.disks.size()));
  for (unsigned i = 0; i < disks.size(); ++i) TRY(describe_disk(options.disks[i], disks[i]));
  auto devices = machine.initDevices(static_cast<unsigned>(options.devices.size()));
  for (unsigned i = 0; i < devices.size(); ++i) TRY(describe_device(options.devices[i], devices[i]));
  return describe_serial(options.serial, machine.initSerial());
}

}  // namespace cli
