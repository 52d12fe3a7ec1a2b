// What somebody would try who has taken a sealed process over, and trying it on many at a time.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/support/hijack.h"

namespace hijacked {

using support::Call;

inline constexpr std::uint64_t kNone = ~0ull;  // no descriptor, no process

// Every number that `listed` has not, by `syscall`.
std::vector<Call> unlisted(const std::set<long>& listed);
// Every number up to support::kLastCall as one of x32, and as one of 32 bits; listed or not.
std::vector<Call> foreign();

// To open, connect, start, signal, spy on, become another or run code of one's own: calls that `listed` has not, those
// of its calls with arguments that no table has, and some of x32 and of 32 bits.
std::vector<Call> wanted(const std::set<long>& listed);
std::map<std::uint64_t, std::string> descriptors_of(pid_t process);  // what each is, as /proc has it
// A request on each descriptor that the process holds, which no table has on it.
std::vector<Call> requests(pid_t process);

// As sandbox::name_of_call() has it.
std::string name_of(const Call& call);

// What `attack` has to complain of, for each call. It is asked by several threads at a time, as much of it is waiting.
std::vector<std::string> complaints(const std::vector<Call>& calls,
                                    const std::function<std::string(const Call&)>& attack);

inline const std::vector<std::string> kNothing;  // to complain of

// What is wrong with that fate: nothing, if the call was killed for.
std::string complaint(const Call& call, const support::Fate& fate);

// Why nothing can be hijacked here; empty: it can.
std::string out_of_reach();

}  // namespace hijacked

#define NEEDS_REACH()                                                                                    \
  do {                                                                                                   \
    if (const std::string reason = hijacked::out_of_reach(); !reason.empty()) SKIP_TEST(reason.c_str()); \
  } while (false)
