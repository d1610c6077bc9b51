# Target helpers. Every library of the project is static and position independent; tally::shared bundles the runtime's.

add_library(tally_flags INTERFACE)
target_compile_options(tally_flags INTERFACE
  # GCC and clang fuse a*b+c by default; the exactness contract needs every step rounded.
  -ffp-contract=off
  # Lets the compiler vectorise sqrt and rint; no code of ours reads errno or traps after arithmetic.
  -fno-math-errno -fno-trapping-math
  -Wall -Wextra -Wpedantic -Wshadow -Wno-unused-parameter)
if(TALLY_WERROR)
  target_compile_options(tally_flags INTERFACE -Werror)
endif()
if(TALLY_SANITIZE)
  target_compile_options(tally_flags INTERFACE -fsanitize=${TALLY_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  target_link_options(tally_flags INTERFACE -fsanitize=${TALLY_SANITIZE})
endif()

# tally_library(name SOURCES a.cc ... [DEPS public targets ...] [PRIVATE_DEPS vendor targets ...])
# Sources include by path from the repository's root ("format/graph.h"); public headers as <tally/...>.
function(tally_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/runtime/include>)
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS} $<BUILD_INTERFACE:tally_flags>)
  set_property(GLOBAL APPEND PROPERTY TALLY_LIBRARIES ${name})
endfunction()

# tally_program(name SOURCES ... DEPS ...)
function(tally_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} tally_flags)
endfunction()

# tally_test(name SOURCES ... DEPS ... [LABELS ...] [PROCESSORS n]): one GoogleTest binary; each test case becomes a ctest
# test. PROCESSORS for those that keep n threads busy for long: waiting threads spin, and would slow others down.
function(tally_test name)
  cmake_parse_arguments(ARG "" "PROCESSORS" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} tally_testing GTest::gtest GTest::gmock GTest::gtest_main tally_flags)
  include(GoogleTest)
  set(properties TIMEOUT 600)
  if(ARG_LABELS)
    list(APPEND properties LABELS "${ARG_LABELS}")
  endif()
  if(ARG_PROCESSORS)
    list(APPEND properties PROCESSORS ${ARG_PROCESSORS})
  endif()
  gtest_discover_tests(${name} NO_PRETTY_VALUES DISCOVERY_TIMEOUT 60 PROPERTIES ${properties})
endfunction()
