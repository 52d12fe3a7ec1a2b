#include "backends/blk/control_commands.h"

#include <poll.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <variant>

#include "backends/blk/control_client.h"
#include "backends/blk/limit_options.h"
#include "backends/blk/stats_view.h"

namespace blk {

using ipc::Result;
namespace schema = ipc::schema;

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kCommands[] = {"stats", "status", "set", "grow"};

struct Asked {
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

struct Status {
  std::string version, how, in_force, not_in_force;
  double uptime = 0;  // seconds
  std::uint64_t sectors = 0;
  std::uint64_t connections = 0;
  bool read_only = false;
  bool connected = false;
  limits::Limits limits;
};

Result<Status> ask_status(ControlClient& client) {
  Status status;
  TRY(client.ask([](auto request) { request.setStatus(); },
                 [&](schema::ControlAnswer::Reader answer, auto&) -> Result<> {
                   if (!answer.isStatus()) return another_answer();
                   const auto told = answer.getStatus();
                   status = {.version = printable(told.getVersion()),
                             .how = printable(told.getHow()),
                             .in_force = printable(told.getInForce()),
                             .not_in_force = printable(told.getNotInForce()),
                             .uptime = static_cast<double>(told.getUptimeMs()) / 1e3,
                             .sectors = told.getSectors(),
                             .connections = told.getConnections(),
                             .read_only = told.getReadOnly(),
                             .connected = told.getConnected(),
                             .limits = {.operations = rates_of(told.getLimits().getOperations()),
                                        .bytes = rates_of(told.getLimits().getBytes())}};
                   return {};
                 }));
  return status;
}

// A back end's text inside of JSON.
std::string quoted(std::string text) {
  std::ranges::replace(text, '"', '\'');
  std::ranges::replace(text, '\\', '/');
  return '"' + text + '"';
}

std::string limits_json(const limits::Limits& limits) {
  std::string text = "{";
  for (const LimitKind& kind : kLimitKinds)
    text += fmt::format(R"({}"{}": {{"per_second": {}, "burst": {}}})", text.size() > 1 ? ", " : "",
                        kind.option.substr(2), kind.in(limits).per_second, kind.in(limits).burst);
  return text + "}";
}

Result<> status(const Asked& asked) {
  auto client = TRY(ControlClient::connect(asked.path));
  const Status told = TRY(ask_status(client));
  if (asked.json)
    fmt::print(R"({{"version": {}, "uptime_s": {:.3f}, "how": {}, "sectors": {}, "read_only": {}, "connected": {}, )"
               R"("connections": {}, "limits": {}, "in_force": {}, "not_in_force": {}}})"
               "\n",
               quoted(told.version), told.uptime, quoted(told.how), told.sectors, told.read_only, told.connected,
               told.connections, limits_json(told.limits), quoted(told.in_force), quoted(told.not_in_force));
  else
    fmt::print(
        "version       {}\nup            {:.0f} s\nhow           {}\ndisk          {} sectors{}\n"
        "front end     {}, {} since the start\nlimits        {}\nin force      {}\nnot in force  {}\n",
        told.version, told.uptime, told.how, told.sectors, told.read_only ? ", read-only" : "",
        told.connected ? "connected" : "not connected", told.connections, describe(told.limits), told.in_force,
        told.not_in_force);
  return {};
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
    const std::string text = (asked.json ? json : table)(interval, reader.operations());
    fmt::print("{}", text);
    std::fflush(stdout);
  };
  if (asked.once) {
    const double uptime = TRY(ask_status(client)).uptime;
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
  if (const auto alone = asked.limits.burst_without_rate(TRY(ask_status(client)).limits))
    return ipc::failure(0, *alone);
  return expect_done(client, [&](schema::ControlRequest::Builder request) {
    auto limits = request.initSetLimits();
    const auto& changes = asked.limits.changes;  // as kLimitKinds
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

Result<> grow(const Asked& asked) {
  auto client = TRY(ControlClient::connect(asked.path));
  return expect_done(client, [](auto request) { request.setGrow(); });
}

using Command = Result<> (*)(const Asked&);

// What is to be done, or the exit status after something was printed.
std::variant<Command, int> parse(std::span<char* const> arguments, Asked& asked) {
  const std::string_view name = arguments.front();
  const auto refuse = [&](std::string_view why) {
    fmt::print(stderr, "bulkhead-blk {}: {}\n", name, why);
    return 2;
  };
  CLI::App app("", fmt::format("bulkhead-blk {}", name));
  app.add_option("PATH", asked.path, "the --control-path of a running bulkhead-blk")->required();
  Command command = grow;
  if (name == "stats") {
    command = stats;
    app.description("Shows what a back end does, until it ends or this is interrupted.");
    app.add_flag("--json", asked.json, "one line of JSON each time");
    auto* once = app.add_flag("--once", asked.once, "what it did since its start, and no more");
    app.add_option("--interval", asked.interval, "seconds from one time to the next, 0.1 to 3600 (1)")
        ->type_name("S")
        ->check(CLI::Range(0.1, 3600.0))
        ->excludes(once);
  } else if (name == "status") {
    command = status;
    app.description("Shows how a back end is set up, and whether a front end is connected.");
    app.add_flag("--json", asked.json, "as JSON");
  } else if (name == "set") {
    command = set;
    app.description("Changes what a guest may do; limits that are not named stay. At once, also for what waits.");
    add_limit_options(app, asked.limits);
  } else {
    app.description("Tells a back end that its image has grown. The guest is told.");
  }
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend() - 1));
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app.help());
    return 0;
  } catch (const CLI::ParseError& error) {
    return refuse(error.what());
  }
  if (name == "set" && asked.limits.empty()) return refuse("no limit is named: --help lists them");
  return command;
}

}  // namespace

bool is_control_command(std::string_view word) {
  return std::ranges::find(kCommands, word) != std::end(kCommands);
}

int run_control_command(std::span<char* const> arguments) {
  Asked asked;
  const auto parsed = parse(arguments, asked);
  if (const int* status = std::get_if<int>(&parsed)) return *status;
  const auto done = std::get<Command>(parsed)(asked);
  if (done) return 0;
  fmt::print(stderr, "bulkhead-blk {}: {}\n", arguments.front(), ipc::describe(done.error()));
  return 1;
}

}  // namespace blk
