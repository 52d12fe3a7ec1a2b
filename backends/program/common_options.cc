#include "backends/program/common_options.h"

#include <algorithm>
#include <cstdio>

#include "backends/serve/log.h"

namespace program {
namespace {

constexpr int kFirstPassed = 3;  // SD_LISTEN_FDS_START

}  // namespace

std::unexpected<Answer> refuse(std::string_view why) {
  return std::unexpected(Answer{2, fmt::format("{}: {}\n", serve::program_name(), why)});
}

int print(const Answer& answer) {
  fmt::print(answer.status == 0 ? stdout : stderr, "{}", answer.text);
  return answer.status;
}

CommonOptions::CommonOptions(CLI::App& app, Common& common, const LimitKinds& limits)
    : app_(app), common_(common), limits_(limits) {
  serve::Manner& manner = common.manner;
  path_ = app.add_option("--socket-path", common.socket_path, "listen on this Unix socket")->type_name("PATH");
  fd_ = app.add_option("--fd", common.socket, "the socket is this descriptor, connected or listening")->type_name("N");
  add_choice(app, "--sandbox", common.sandbox, {{"best", Sandbox::Best}, {"require", Sandbox::Required}},
             "give up what the host lets us, or refuse to start where that is not all (best)");
  add_choice(app, "--engine", manner.engine,
             {{"io_uring", serve::EngineChoice::IoUring}, {"plain", serve::EngineChoice::Plain}},
             "how I/O is made (io_uring where the host has it)");
  manner.poll = serve::Poll::Adaptive;
  add_choice(app, "--poll", manner.poll,
             {{"off", serve::Poll::Off}, {"adaptive", serve::Poll::Adaptive}, {"busy", serve::Poll::Busy}},
             "look for requests instead of sleeping: never, for a while when that pays, always (adaptive)");
  app.add_option("--poll-limit", poll_limit_, "microseconds that --poll=adaptive looks, at most (200)")
      ->type_name("US")
      ->check(CLI::Range(1, 10'000));
  app.add_option("--threads", manner.threads, "threads that share the virtqueues, 1 to their number (1)")
      ->type_name("N");
  app.add_option("--cpus", manner.cpus, "CPUs to run on, one for each thread: 2,3")->type_name("LIST")->delimiter(',');
  app.add_flag("--accept-unsealed", unsealed_, "serve memory that its owner can cut short");
  app.add_option("--control-path", common.control_path, "listen on this Unix socket for stats, status, set and others")
      ->type_name("PATH");
  add_limit_options(app, limits_);
  const std::string capabilities = "print what QEMU's conventions want to know, as JSON";
  app.add_flag("--print-capabilities", capabilities);
  const std::string version = "print the version";
  app.add_flag("--version", version);
}

std::expected<void, Answer> CommonOptions::parse(std::span<char* const> arguments, int passed,
                                                 std::string_view capabilities) {
  const auto given = [&](std::string_view option) {
    return std::ranges::any_of(arguments, [&](const char* argument) { return argument == option; });
  };
  // By the conventions all others are ignored then.
  if (given("--print-capabilities")) return std::unexpected(Answer{0, fmt::format("{}\n", capabilities)});
  if (given("--version"))
    return std::unexpected(Answer{0, fmt::format("{} {}\n", serve::program_name(), BULKHEAD_VERSION)});
  try {
    app_.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp&) {
    return std::unexpected(Answer{0, app_.help()});
  } catch (const CLI::ParseError& error) {
    return refuse(error.what());
  }
  return check(passed);
}

std::expected<void, Answer> CommonOptions::check(int passed) {
  if (path_->count() + fd_->count() == 0 && passed > 0) {
    if (passed != 1) return refuse(fmt::format("{} sockets of systemd's: one is right", passed));
    common_.socket = kFirstPassed;
  } else if (path_->count() + fd_->count() != 1) {
    return refuse("exactly one of --socket-path and --fd is right");
  }
  if (path_->count() == 1 && common_.socket_path.empty()) return refuse("--socket-path: empty");
  if (fd_->count() == 1 && common_.socket < 3)
    return refuse(fmt::format("--fd={}: a number of 3 or more is right", common_.socket));
  common_.manner.poll_limit = poll_limit_ * 1000;
  if (const auto alone = limits_.burst_without_rate({})) return refuse(*alone);
  limits_.apply_to(common_.limits);
  if (unsealed_) common_.sealing = virtio::Sealing::Optional;
  return {};
}

}  // namespace program
