#include "monitor/cli/doctor.h"

#include <capnp/compat/json.h>
#include <fmt/format.h>

#include <algorithm>

namespace cli {
namespace {

std::string_view state_of(const Check& check) {
  if (check.ok) return "ok";
  return check.required ? "MISSING" : "missing";
}

void print_table(const std::vector<Check>& checks, bool able) {
  constexpr std::string_view kRow = "{:<24} {:<8} {}\n";
  fmt::print(fmt::runtime(kRow), "WHAT", "STATE", "FOUND");
  for (const Check& check : checks) {
    fmt::print(fmt::runtime(kRow), check.name, state_of(check), check.found);
    if (!check.ok) fmt::print(fmt::runtime(kRow), "", "", "→ " + check.advice);
  }
  fmt::print("\n{}\n", able ? "This host can run guests." : "This host cannot run guests: see MISSING above.");
}

void print_json(const std::vector<Check>& checks, bool able) {
  capnp::MallocMessageBuilder message;
  auto report = message.initRoot<capnp::JsonValue>().initObject(2);
  report[0].setName("able");
  report[0].initValue().setBoolean(able);
  report[1].setName("checks");
  auto list = report[1].initValue().initArray(static_cast<unsigned>(checks.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    const Check& check = checks[i];
    auto fields = list[i].initObject(5);
    const auto text = [&](unsigned index, const char* name, const std::string& value) {
      fields[index].setName(name);
      fields[index].initValue().setString(value);
    };
    text(0, "name", check.name);
    fields[1].setName("ok");
    fields[1].initValue().setBoolean(check.ok);
    fields[2].setName("required");
    fields[2].initValue().setBoolean(check.required);
    text(3, "found", check.found);
    text(4, "advice", check.advice);
  }
  capnp::JsonCodec codec;
  codec.setPrettyPrint(true);
  fmt::print("{}\n", codec.encodeRaw(message.getRoot<capnp::JsonValue>().asReader()).cStr());
}

}  // namespace

bool run_doctor(Report report) {
  std::vector<Check> checks = check_kvm();
  if (report == Report::Kernel) {
    // The first that fails explains those after it.
    const auto failed = std::ranges::find_if(checks, [](const Check& check) { return check.required && !check.ok; });
    if (failed == checks.end()) {
      fmt::print("this host's KVM runs unmodified kernels\n");
      return true;
    }
    fmt::print("this host's KVM cannot run an unmodified kernel: {}: {}\n", failed->name, failed->found);
    return false;
  }
  std::ranges::move(check_host(), std::back_inserter(checks));
  const bool able = std::ranges::all_of(checks, [](const Check& check) { return check.ok || !check.required; });
  if (report == Report::Table)
    print_table(checks, able);
  else
    print_json(checks, able);
  return able;
}

}  // namespace cli
