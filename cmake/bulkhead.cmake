# How every target of the project is compiled and linked.

add_library(bulkhead_flags INTERFACE)
target_include_directories(bulkhead_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(bulkhead_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Woverloaded-virtual
  -Wcast-align -Wunused -Wdouble-promotion -Wimplicit-fallthrough
  -fstack-protector-strong -fno-omit-frame-pointer -ffunction-sections -fdata-sections)
target_compile_definitions(bulkhead_flags INTERFACE _GNU_SOURCE)
target_link_options(bulkhead_flags INTERFACE -Wl,--gc-sections -Wl,-z,relro,-z,now -Wl,-z,noexecstack)
if(NOT BULKHEAD_SANITIZE)
  target_compile_definitions(bulkhead_flags INTERFACE _FORTIFY_SOURCE=2)
else()
  target_compile_options(bulkhead_flags INTERFACE
    -fsanitize=${BULKHEAD_SANITIZE} -fno-sanitize-recover=all
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND BULKHEAD_SANITIZE STREQUAL "thread")
    # What is ordered by fences alone the thread sanitizer does not see: between us and a driver, never two threads.
    target_compile_options(bulkhead_flags INTERFACE -Wno-tsan)
  endif()
  target_link_options(bulkhead_flags INTERFACE -fsanitize=${BULKHEAD_SANITIZE})
  # Sanitizers need a dynamic program, /proc and system calls of their own: such a build runs its
  # tests outside the sandbox and says so on stderr. It is never installed.
  target_compile_definitions(bulkhead_flags INTERFACE BULKHEAD_SANITIZED=1)
endif()

if(BULKHEAD_FUZZ)
  target_compile_options(bulkhead_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# A library of one folder: bulkhead_library(NAME sources...)
function(bulkhead_library name)
  add_library(${name} STATIC ${ARGN})
  target_link_libraries(${name} PUBLIC bulkhead_flags)
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()

# A program that people run: static-pie, because a child executes in an empty root where no
# loader and no shared library can be found. bulkhead_program(NAME sources...)
function(bulkhead_program name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE bulkhead_flags)
  set_target_properties(${name} PROPERTIES
    POSITION_INDEPENDENT_CODE ON RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
  if(NOT BULKHEAD_SANITIZE)
    target_compile_options(${name} PRIVATE -fPIE)
    target_link_options(${name} PRIVATE -static-pie)
  endif()
  install(TARGETS ${name} RUNTIME DESTINATION bin COMPONENT ${name})
endfunction()
