// The options that limit what the guest may do, of a back end and of its command `set`.
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

namespace program {

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

// All of them, as a kind of device calls them: operations in total, read, written, then bytes likewise.
using LimitKinds = std::array<LimitKind, 6>;

// Their options, and what each is, for people.
constexpr LimitKinds limit_kinds(const std::array<std::string_view, 6>& options,
                                 const std::array<std::string_view, 6>& what) {
  using limits::Limits;
  return {{
      {options[0], what[0], &Limits::operations, &Limits::Rates::total},
      {options[1], what[1], &Limits::operations, &Limits::Rates::read},
      {options[2], what[2], &Limits::operations, &Limits::Rates::write},
      {options[3], what[3], &Limits::bytes, &Limits::Rates::total},
      {options[4], what[4], &Limits::bytes, &Limits::Rates::read},
      {options[5], what[5], &Limits::bytes, &Limits::Rates::write},
  }};
}

// What the options said: the rest stays as it is.
struct LimitChanges {
  explicit LimitChanges(const LimitKinds& all) : kinds(&all) {}
  struct Change {
    std::optional<std::uint64_t> per_second, burst;
  };
  const LimitKinds* kinds;                                    // borrowed
  std::array<Change, std::tuple_size_v<LimitKinds>> changes;  // as *kinds

  bool empty() const;
  void apply_to(limits::Limits& limits) const;
  // The first option that sets a burst where `limits` then has no rate.
  std::optional<std::string> burst_without_rate(limits::Limits limits) const;
};

// Adds --iops, --iops-burst and so on to `app`, which lives no longer than `changes`.
void add_limit_options(CLI::App& app, LimitChanges& changes);

// "iops 1000 (burst 100), bps-read 1048576 (burst ...)", "none".
std::string describe(const LimitKinds& kinds, const limits::Limits& limits);

}  // namespace program
