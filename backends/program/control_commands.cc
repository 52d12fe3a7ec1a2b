#include "backends/program/control_commands.h"

#include <poll.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "backends/program/common_options.h"
#include "backends/program/control_client.h"
#include "backends/serve/log.h"

namespace program {

using ipc::Result;
namespace schema = ipc::schema;

namespace {

using Clock = std::chrono::steady_clock;

struct Asked {
  explicit Asked(const Commands& all) : commands(all), limits(all.limits) {}
  const Commands& commands;
  std::string path;
  bool json = false;
  bool once = false;
  double interval = 1.0;  // seconds
  LimitChanges limits;
};

std::unexpected<ipc::Error> another_answer() {
  return ipc::failure(EBADMSG, "another answer than asked for");
}

Result<> expect_done(ControlClient& client, const ControlClient::Fill& fill) {
  return client.ask(fill, [](schema::ControlAnswer::Reader answer, auto&) -> Result<> {
    return answer.isDone() ? Result<>() : another_answer();
  });
}

limits::Rate rate_of(schema::Rate::Reader rate) {
  return {.per_second = rate.getPerSecond(), .burst = rate.getBurst()};
}

limits::Limits::Rates rates_of(schema::Rates::Reader rates) {
  return {.read = rate_of(rates.getRead()), .write = rate_of(rates.getWrite()), .total = rate_of(rates.getTotal())};
}

// `read` is given the status, and is told of nothing else.
Result<> ask_status(ControlClient& client, const std::function<void(schema::BackendStatus::Reader)>& read) {
  return client.ask([](auto request) { request.setStatus(); },
                    [&](schema::ControlAnswer::Reader answer, auto&) -> Result<> {
                      if (!answer.isStatus()) return another_answer();
                      read(answer.getStatus());
                      return {};
                    });
}

limits::Limits limits_of(schema::BackendStatus::Reader status) {
  return {.operations = rates_of(status.getLimits().getOperations()), .bytes = rates_of(status.getLimits().getBytes())};
}

double uptime_of(schema::BackendStatus::Reader status) {
  return static_cast<double>(status.getUptimeMs()) / 1e3;
}

std::string limits_json(const LimitKinds& kinds, const limits::Limits& limits) {
  std::string text = "{";
  for (const LimitKind& kind : kinds)
    text += fmt::format(R"({}"{}": {{"per_second": {}, "burst": {}}})", text.size() > 1 ? ", " : "",
                        kind.option.substr(2), kind.in(limits).per_second, kind.in(limits).burst);
  return text + "}";
}

void print_status(const Asked& asked, schema::BackendStatus::Reader told) {
  const std::string version = printable(told.getVersion());
  const std::string how = printable(told.getHow());
  const std::string in_force = printable(told.getInForce());
  const std::string not_in_force = printable(told.getNotInForce());
  const Commands& commands = asked.commands;
  if (asked.json)
    fmt::print(R"({{"version": {}, "uptime_s": {:.3f}, "how": {}, {}, "connected": {}, )"
               R"("connections": {}, "limits": {}, "in_force": {}, "not_in_force": {}}})"
               "\n",
               program::quoted(version), uptime_of(told), program::quoted(how), commands.status_json(told),
               told.getConnected(), told.getConnections(), limits_json(commands.limits, limits_of(told)),
               program::quoted(in_force), program::quoted(not_in_force));
  else
    fmt::print(
        "version       {}\nup            {:.0f} s\nhow           {}\n{}"
        "front end     {}, {} since the start\nlimits        {}\nin force      {}\nnot in force  {}\n",
        version, uptime_of(told), how, commands.status_table(told), told.getConnected() ? "connected" : "not connected",
        told.getConnections(), describe(commands.limits, limits_of(told)), in_force, not_in_force);
}

Result<> status(const Asked& asked) {
  auto client = TRY(ControlClient::connect(asked.path));
  return ask_status(client, [&](auto told) { print_status(asked, told); });
}

Result<telemetry::Reader> ask_telemetry(ControlClient& client) {
  ipc::UniqueFd segment;
  TRY(client.ask([](auto request) { request.setTelemetry(); },
                 [&](schema::ControlAnswer::Reader answer, std::vector<ipc::UniqueFd>& fds) -> Result<> {
                   if (!answer.isTelemetry() || fds.size() != 1) return another_answer();
                   segment = std::move(fds.front());
                   return {};
                 }));
  return telemetry::Reader::attach(segment);
}

Result<> stats(const Asked& asked) {
  auto client = TRY(ControlClient::connect(asked.path));
  const telemetry::Reader reader = TRY(ask_telemetry(client));
  const auto show = [&](const Interval& interval) {
    const std::string text = (asked.json ? asked.commands.json : asked.commands.table)(interval, reader);
    fmt::print("{}", text);
    std::fflush(stdout);
  };
  if (asked.once) {
    double uptime = 0;
    TRY(ask_status(client, [&](auto status) { uptime = uptime_of(status); }));
    const telemetry::Sample now = reader.read();
    show({.seconds = std::max(uptime, 1e-3), .counted = now, .now = now});
    return {};
  }
  auto last = Clock::now();
  telemetry::Sample before = reader.read();
  while (true) {
    pollfd waits{client.socket().get(), POLLIN, 0};
    if (::poll(&waits, 1, static_cast<int>(asked.interval * 1e3)) != 0)
      break;  // it says nothing by itself: it has gone
    const auto now = Clock::now();
    telemetry::Sample after = reader.read();
    show({.seconds = std::chrono::duration<double>(now - last).count(),
          .counted = telemetry::difference(after, before),
          .now = after});
    before = std::move(after);
    last = now;
  }
  return {};
}

void tell(schema::Rate::Builder told, const LimitChanges::Change& change) {
  if (change.per_second) told.setPerSecond(*change.per_second);
  if (change.burst) told.setBurst(*change.burst);
}

Result<> set(const Asked& asked) {
  auto client = TRY(ControlClient::connect(asked.path));
  limits::Limits now;
  TRY(ask_status(client, [&](auto status) { now = limits_of(status); }));
  if (const auto alone = asked.limits.burst_without_rate(now)) return ipc::failure(0, *alone);
  return expect_done(client, [&](schema::ControlRequest::Builder request) {
    auto limits = request.initSetLimits();
    const auto& changes = asked.limits.changes;  // as LimitKinds
    auto operations = limits.initOperations();
    auto bytes = limits.initBytes();
    tell(operations.initTotal(), changes[0]);
    tell(operations.initRead(), changes[1]);
    tell(operations.initWrite(), changes[2]);
    tell(bytes.initTotal(), changes[3]);
    tell(bytes.initRead(), changes[4]);
    tell(bytes.initWrite(), changes[5]);
  });
}

Result<> run(const Asked& asked, const Command& command) {
  // What makes no sense is not sent.
  capnp::MallocMessageBuilder trial;
  TRY(command.fill(trial.initRoot<schema::ControlRequest>()));
  auto client = TRY(ControlClient::connect(asked.path));
  return expect_done(client,
                     [&](schema::ControlRequest::Builder request) { static_cast<void>(command.fill(request)); });
}

constexpr std::string_view kCommon[] = {"stats", "status", "set"};

std::expected<void, Answer> parse(std::span<char* const> arguments, const std::string& program, Asked& asked) {
  const std::string_view name = arguments.front();
  CLI::App app("", program);
  app.add_option("PATH", asked.path, "the --control-path of a running back end")->required();
  if (name == "stats") {
    app.description("Shows what a back end does, until it ends or this is interrupted.");
    app.add_flag("--json", asked.json, "one line of JSON each time");
    auto* once = app.add_flag("--once", asked.once, "what it did since its start, and no more");
    app.add_option("--interval", asked.interval, "seconds from one time to the next, 0.1 to 3600 (1)")
        ->type_name("S")
        ->check(CLI::Range(0.1, 3600.0))
        ->excludes(once);
  } else if (name == "status") {
    app.description("Shows how a back end is set up, and whether a front end is connected.");
    app.add_flag("--json", asked.json, "as JSON");
  } else if (name == "set") {
    app.description("Changes what a guest may do; limits that are not named stay. At once, also for what waits.");
    add_limit_options(app, asked.limits);
  } else {
    const auto command = std::ranges::find(asked.commands.more, name, &Command::name);
    app.description(std::string(command->description));
    command->add_options(app);
  }
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend() - 1));
  } catch (const CLI::CallForHelp&) {
    return std::unexpected(Answer{0, app.help()});
  } catch (const CLI::ParseError& error) {
    return std::unexpected(Answer{2, fmt::format("{}: {}\n", program, error.what())});
  }
  if (name == "set" && asked.limits.empty())
    return std::unexpected(Answer{2, program + ": no limit is named: --help lists them\n"});
  return {};
}

Result<> carry_out(std::string_view name, const Asked& asked) {
  if (name == "stats") return stats(asked);
  if (name == "status") return status(asked);
  if (name == "set") return set(asked);
  return run(asked, *std::ranges::find(asked.commands.more, name, &Command::name));
}

}  // namespace

std::string quoted(std::string_view text) {
  std::string result(text);
  std::ranges::replace(result, '"', '\'');
  std::ranges::replace(result, '\\', '/');
  return '"' + result + '"';
}

bool is_control_command(const Commands& commands, std::string_view word) {
  return std::ranges::find(kCommon, word) != std::end(kCommon) ||
         std::ranges::find(commands.more, word, &Command::name) != commands.more.end();
}

int run_control_command(const Commands& commands, std::span<char* const> arguments) {
  const std::string program = fmt::format("{} {}", serve::program_name(), arguments.front());
  Asked asked(commands);
  const auto parsed = parse(arguments, program, asked);
  if (!parsed) return print(parsed.error());
  const auto done = carry_out(arguments.front(), asked);
  if (done) return 0;
  fmt::print(stderr, "{}: {}\n", program, ipc::describe(done.error()));
  return 1;
}

}  // namespace program
