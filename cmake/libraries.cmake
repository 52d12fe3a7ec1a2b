# The libraries that we use, each as one target. Their headers are not ours to warn about.

find_package(CapnProto CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)

# Archives, not shared objects: see bulkhead_program.
function(bulkhead_archives target)
  add_library(${target} INTERFACE)
  foreach(archive IN LISTS ARGN)
    find_library(BULKHEAD_${archive} NAMES lib${archive}.a REQUIRED)
    target_link_libraries(${target} INTERFACE ${BULKHEAD_${archive}})
  endforeach()
endfunction()

find_package(Threads REQUIRED)
bulkhead_archives(lib_capnp capnp kj)                    # serialization only: no event loop, no RPC
bulkhead_archives(lib_capnp_json capnp-json capnp kj)    # for the command line alone
bulkhead_archives(lib_seccomp seccomp)
bulkhead_archives(lib_uring uring)
target_link_libraries(lib_capnp INTERFACE Threads::Threads)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(lib_capnp INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-include ${PROJECT_SOURCE_DIR}/cmake/kj_comparison.h>")
endif()
target_link_libraries(lib_capnp_json INTERFACE Threads::Threads)
add_library(lib_fmt STATIC cmake/fmt_once.cc)
set_target_properties(lib_fmt PROPERTIES POSITION_INDEPENDENT_CODE ON)
