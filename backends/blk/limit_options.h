// The options that limit what the guest may do, of the back end and of `bulkhead-blk set`.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "backends/limits/limiter.h"

namespace CLI {
class App;
}

namespace blk {

// "4096", "4K", "1G" (powers of 1024): bytes.
std::optional<std::uint64_t> bytes_of(std::string text);

// One of the six limits.
struct LimitKind {
  std::string_view option;  // "--iops-read"
  std::string_view what;    // "reads a second"
  limits::Limits::Rates limits::Limits::* of;
  limits::Rate limits::Limits::Rates::* rate;

  limits::Rate& in(limits::Limits& all) const { return all.*of.*rate; }
  const limits::Rate& in(const limits::Limits& all) const { return all.*of.*rate; }
};

inline constexpr std::array<LimitKind, 6> kLimitKinds{{
    {"--iops", "requests a second", &limits::Limits::operations, &limits::Limits::Rates::total},
    {"--iops-read", "reads a second", &limits::Limits::operations, &limits::Limits::Rates::read},
    {"--iops-write", "all but reads a second", &limits::Limits::operations, &limits::Limits::Rates::write},
    {"--bps", "bytes a second, read and written", &limits::Limits::bytes, &limits::Limits::Rates::total},
    {"--bps-read", "bytes read a second", &limits::Limits::bytes, &limits::Limits::Rates::read},
    {"--bps-write", "bytes written a second", &limits::Limits::bytes, &limits::Limits::Rates::write},
}};

// What the options said: the rest stays as it is.
struct LimitChanges {
  struct Change {
    std::optional<std::uint64_t> per_second, burst;
  };
  std::array<Change, kLimitKinds.size()> changes;  // as kLimitKinds

  bool empty() const;
  void apply_to(limits::Limits& limits) const;
  // The first option that sets a burst where `limits` then has no rate.
  std::optional<std::string> burst_without_rate(limits::Limits limits) const;
};

// Adds --iops, --iops-burst and so on to `app`, which lives no longer than `changes`.
void add_limit_options(CLI::App& app, LimitChanges& changes);

// "iops 1000 (burst 100), bps-read 1048576 (burst ...)", "none".
std::string describe(const limits::Limits& limits);

}  // namespace blk
