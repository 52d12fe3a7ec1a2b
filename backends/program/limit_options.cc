#include "backends/program/limit_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

namespace program {
namespace {

constexpr std::size_t kBytesFrom = 3;  // in LimitKinds

// Makes "10M" a plain number of bytes. What is wrong with it otherwise.
std::string to_bytes(std::string& text) {
  const auto bytes = bytes_of(text);
  if (!bytes) return fmt::format("{}: bytes are right, as 10M", text);
  text = std::to_string(*bytes);
  return "";
}

std::string to_number(std::string& text) {
  std::uint64_t number = 0;
  const auto end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && rest == end ? "" : fmt::format("{}: a whole number is right", text);
}

void add(CLI::App& app, const std::string& name, std::optional<std::uint64_t>& value, const std::string& what,
         bool bytes) {
  app.add_option(name, value, what)
      ->type_name(bytes ? "BYTES" : "N")
      ->group("Limits")
      ->transform(CLI::Validator(bytes ? to_bytes : to_number, ""));
}

}  // namespace

std::optional<std::uint64_t> bytes_of(std::string text) {
  // CLI11 takes -1 for the largest number there is.
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
  try {
    std::uint64_t bytes = 0;
    if (!CLI::AsSizeValue(false)(text).empty()) return std::nullopt;  // changes it to a plain number
    return CLI::detail::lexical_cast(text, bytes) ? std::optional(bytes) : std::nullopt;
  } catch (const CLI::Error&) {  // no such unit, or too large
    return std::nullopt;
  }
}

bool LimitChanges::empty() const {
  return std::ranges::none_of(changes, [](const Change& change) { return change.per_second || change.burst; });
}

void LimitChanges::apply_to(limits::Limits& limits) const {
  for (std::size_t i = 0; i < changes.size(); ++i) {
    limits::Rate& rate = (*kinds)[i].in(limits);
    rate.per_second = changes[i].per_second.value_or(rate.per_second);
    rate.burst = changes[i].burst.value_or(rate.burst);
  }
}

std::optional<std::string> LimitChanges::burst_without_rate(limits::Limits limits) const {
  apply_to(limits);
  for (std::size_t i = 0; i < changes.size(); ++i)
    if (changes[i].burst && (*kinds)[i].in(limits).per_second == 0)
      return fmt::format("{0}-burst: there is no {0} that it could belong to", (*kinds)[i].option);
  return std::nullopt;
}

void add_limit_options(CLI::App& app, LimitChanges& changes) {
  for (std::size_t i = 0; i < changes.changes.size(); ++i) {
    const std::string name((*changes.kinds)[i].option);
    const std::string what((*changes.kinds)[i].what);
    add(app, name, changes.changes[i].per_second, fmt::format("{}, at most; 0: no limit", what), i >= kBytesFrom);
    add(app, name + "-burst", changes.changes[i].burst, "so many at once after a pause (a tenth of it)",
        i >= kBytesFrom);
  }
}

std::string describe(const LimitKinds& kinds, const limits::Limits& limits) {
  std::string text;
  for (const LimitKind& kind : kinds) {
    const limits::Rate& rate = kind.in(limits);
    if (rate.per_second == 0) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", kind.option.substr(2), rate.per_second);
    if (rate.burst != 0) text += fmt::format(" (burst {})", rate.burst);
  }
  return text.empty() ? "none" : text;
}

}  // namespace program
