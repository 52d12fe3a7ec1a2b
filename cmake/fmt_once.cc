// fmt, compiled once: as a header-only library it costs every file seconds, and Debian has no archive of it.
#include <fmt/format-inl.h>

// What its headers expect from elsewhere.
template fmt::detail::thousands_sep_result<char> fmt::detail::thousands_sep_impl<char>(fmt::detail::locale_ref);
template char fmt::detail::decimal_point_impl<char>(fmt::detail::locale_ref);
