#include "backends/net/checksum.h"

namespace net {

std::uint64_t sum_of_words(Head bytes) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) sum += word_at(bytes, i);
  return bytes.size() % 2 == 0 ? sum : sum + (std::uint64_t{byte_at(bytes, bytes.size() - 1)} << 8);
}

std::uint16_t checksum_of(std::uint64_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

void put_word(std::span<std::byte> bytes, std::size_t offset, std::size_t value) {
  bytes[offset] = static_cast<std::byte>(value >> 8);
  bytes[offset + 1] = static_cast<std::byte>(value);
}

}  // namespace net
