// The options that every standalone back end has.
#pragma once

#include <CLI/CLI.hpp>
#include <expected>
#include <span>
#include <string>

#include "backends/program/isolation.h"
#include "backends/program/limit_options.h"
#include "backends/serve/manner.h"
#include "backends/virtio/memory_table.h"

namespace program {

struct Common {
  Sandbox sandbox = Sandbox::Best;
  std::string socket_path;   // where to listen; empty: `socket` is the vhost-user socket
  int socket = -1;           // connected or listening; of our caller
  std::string control_path;  // where operators connect; empty: nowhere
  virtio::Sealing sealing = virtio::Sealing::Required;
  serve::Manner manner;
  limits::Limits limits;
};

// To be printed, and to exit with: 0 on stdout, others on stderr.
struct Answer {
  int status;
  std::string text;  // ends with a newline
};
// Status 2, with the program's name.
std::unexpected<Answer> refuse(std::string_view why);

// Prints it. Its status.
int print(const Answer& answer);

class CommonOptions {
 public:
  // Adds them to `app`, whose parse() fills `common`; both live as long as this.
  CommonOptions(CLI::App& app, Common& common, const LimitKinds& limits);

  // Parses `arguments`, and checks what no single option can: `passed` sockets are ours from descriptor 3 on, by
  // systemd. --help, --version and --print-capabilities (`capabilities` is one line of JSON) are answers.
  std::expected<void, Answer> parse(std::span<char* const> arguments, int passed, std::string_view capabilities);

 private:
  std::expected<void, Answer> check(int passed);

  CLI::App& app_;
  Common& common_;
  LimitChanges limits_;
  bool unsealed_ = false;
  std::uint32_t poll_limit_ = 200;  // microseconds
  CLI::Option* path_;
  CLI::Option* fd_;
};

// Adds an option that is one of `choices`.
template <class T>
void add_choice(CLI::App& app, const std::string& name, T& value, std::vector<std::pair<std::string, T>> choices,
                const std::string& what) {
  std::string words;
  for (const auto& [word, meaning] : choices) words += (words.empty() ? "" : "|") + word;
  app.add_option(name, value, what)->type_name(words)->transform(CLI::CheckedTransformer(choices).description(""));
}

}  // namespace program
