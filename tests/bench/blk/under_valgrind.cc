// valgrind 3.19 does not know seccomp(2): libseccomp, which compiles the policies that are not entered here, must
// not ask the kernel what it can do.
#include <seccomp.h>

namespace {
constexpr unsigned kWithKillProcess = 3;
[[maybe_unused]] const int kSet = seccomp_api_set(kWithKillProcess);
}  // namespace
