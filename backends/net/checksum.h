// The Internet checksum (RFC 1071) of what is in network byte order.
#pragma once

#include <cstdint>

#include "backends/net/frame.h"

namespace net {

// The sum of the 16-bit words, an odd byte at the end being the upper half of one; not folded, so that the sums of
// several pieces of even length can be added.
std::uint64_t sum_of_words(Head bytes);

// The checksum that makes what was summed up right.
std::uint16_t checksum_of(std::uint64_t sum);

// Writes the low 16 bits of `value`, big-endian. The caller has seen that they fit in.
void put_word(std::span<std::byte> bytes, std::size_t offset, std::size_t value);

}  // namespace net
