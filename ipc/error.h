// Failures on control paths: what failed, and while doing what.
#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <expected>
#include <string>
#include <utility>

namespace ipc {

struct Error {
  int code;             // an errno value, for programs
  std::string context;  // "open disk /srv/a.img", for people
};

template <class T = void>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> failure(int code, std::string context) {
  return std::unexpected(Error{code, std::move(context)});
}

// The failure of the system call that just returned -1.
inline std::unexpected<Error> system_failure(std::string context) {
  const int code = errno;
  return failure(code, std::move(context));
}

// "open disk /srv/a.img: No such file or directory"; the context alone where there is no errno.
inline std::string describe(const Error& error) {
  return error.code == 0 ? error.context : fmt::format("{}: {}", error.context, std::strerror(error.code));
}

}  // namespace ipc

// The value of `expression`, or return its error from the function around it.
#define TRY(expression)                                               \
  __extension__({                                                     \
    auto result_ = (expression);                                      \
    if (!result_) return std::unexpected(std::move(result_).error()); \
    std::move(result_).value();                                       \
  })
