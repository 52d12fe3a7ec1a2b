// The options that say what a card lets pass, of the back end and of `bulkhead-net policy`.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "backends/net/policy.h"

namespace CLI {
class App;
}

namespace net {

struct PolicyOptions {
  bool own_mac_only = false;
  std::vector<std::string> addresses;
  std::string vlans;
  std::uint64_t flood = 0;
};

// Adds --own-mac-only, --address, --vlans and --flood to `app`, which lives no longer than `options`.
void add_policy_options(CLI::App& app, PolicyOptions& options);

// What is wrong with them otherwise, as one line.
std::expected<Policy, std::string> policy_of(const PolicyOptions& options);

}  // namespace net
