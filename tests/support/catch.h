// Catch2 as the reference distribution has it (2.13) and as its successor has it (3).
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <cstdio>

// For a test that cannot run on this machine: it counts as skipped, never as passed.
#define SKIP_TEST(reason)                 \
  do {                                    \
    std::printf("SKIPPED: %s\n", reason); \
    std::fflush(stdout);                  \
    SUCCEED();                            \
    return;                               \
  } while (false)
