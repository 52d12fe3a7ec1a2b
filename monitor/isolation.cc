#include "monitor/isolation.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace monitor {

using ipc::failure;
using ipc::Result;

namespace {

constexpr std::string_view kLandlockAbi = "landlock:";

// "deny write and execute" as "deny-write-execute".
std::string name_of(std::string_view layer) {
  std::string name;
  for (std::size_t start = 0; start < layer.size();) {
    const std::size_t end = std::min(layer.find(' ', start), layer.size());
    if (const auto word = layer.substr(start, end - start); word != "and")
      name += (name.empty() ? "" : "-") + std::string(word);
    start = end + 1;
  }
  std::ranges::transform(name, name.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return name;
}

std::optional<int> abi_of(std::string_view required) {
  int abi = 0;
  const std::string_view digits = required.substr(kLandlockAbi.size());
  const auto read = std::from_chars(digits.begin(), digits.end(), abi);
  return read.ec == std::errc() && read.ptr == digits.end() && abi > 0 ? std::optional(abi) : std::nullopt;
}

Result<> check(const std::string& required, const sandbox::Protections& offered) {
  const auto layers = sandbox::layers(offered);
  if (required.starts_with(kLandlockAbi)) {
    const auto abi = abi_of(required);
    if (abi && offered.landlock_abi >= *abi) return {};
    if (abi)
      return failure(ENOTSUP,
                     fmt::format("isolation: this host has Landlock ABI {}, not {}", offered.landlock_abi, *abi));
  }
  const auto found =
      std::ranges::find(layers, required, [](const sandbox::Layer& layer) { return name_of(layer.name); });
  if (found == layers.end()) {
    std::string names;
    for (const sandbox::Layer& layer : layers) names += name_of(layer.name) + ", ";
    return failure(EINVAL, fmt::format("isolation: \"{}\"; {}landlock:N are right", required, names));
  }
  if (found->present) return {};
  return failure(ENOTSUP, fmt::format("isolation: this host lacks {}{}{}", required,
                                      found->detail.empty() ? "" : ", which ", found->detail));
}

}  // namespace

Result<> check_isolation(std::span<const std::string> required, const sandbox::Protections& offered) {
  for (const std::string& layer : required) TRY(check(layer, offered));
  return {};
}

}  // namespace monitor
