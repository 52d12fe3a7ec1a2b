#include "backends/net/ethernet.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <charconv>

namespace net {
namespace {

template <std::size_t N>
std::optional<Prefix<N>> parse_prefix(int family, const std::string& text) {
  Prefix<N> prefix{.bytes = {}, .bits = 8 * N};
  const std::size_t slash = text.find('/');
  if (slash != std::string::npos) {
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data() + slash + 1, end, prefix.bits);
    if (error != std::errc() || rest != end || prefix.bits > 8 * N) return std::nullopt;
  }
  if (::inet_pton(family, text.substr(0, slash).c_str(), prefix.bytes.data()) != 1) return std::nullopt;
  return prefix;
}

template <std::size_t N>
std::string prefix_text(int family, const Prefix<N>& prefix) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(family, prefix.bytes.data(), text.data(), text.size());
  return fmt::format("{}/{}", text.data(), prefix.bits);
}

}  // namespace

std::optional<Ipv4Prefix> parse_ipv4(const std::string& text) {
  return parse_prefix<4>(AF_INET, text);
}
std::optional<Ipv6Prefix> parse_ipv6(const std::string& text) {
  return parse_prefix<16>(AF_INET6, text);
}
std::string to_text(const Ipv4Prefix& prefix) {
  return prefix_text(AF_INET, prefix);
}
std::string to_text(const Ipv6Prefix& prefix) {
  return prefix_text(AF_INET6, prefix);
}

}  // namespace net
