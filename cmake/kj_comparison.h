// Read before every file that uses Cap'n Proto, where the compiler is clang. KJ before 1.0 leaves
// `"text" == stringPtr` to C++20's rewritten comparisons; since P2468 (clang 16) a class with an
// operator!= of its own, as StringPtr has, gets none.
#pragma once

#include <capnp/common.h>
#include <kj/string.h>

#if CAPNP_VERSION < 1000000
namespace kj {
inline bool operator==(const char* a, const StringPtr& b) {
  return b.operator==(StringPtr(a));
}
inline bool operator!=(const char* a, const StringPtr& b) {
  return !(a == b);
}
}  // namespace kj
#endif
