# What to build. AUTO: when its library is found.
set(TALLY_ONEDNN AUTO CACHE STRING "oneDNN backends (onednn, onednn-codebook): AUTO, ON, OFF")
set(TALLY_XNNPACK AUTO CACHE STRING "XNNPACK backend: AUTO, ON, OFF")
option(TALLY_CONVERTER "The ONNX converter; needs libonnx and protobuf" ON)
option(TALLY_BUILD_TOOLS "The tally command and the benchmark binary" ON)
option(TALLY_BUILD_TESTS "The tests" ${PROJECT_IS_TOP_LEVEL})
option(TALLY_WERROR "Warnings are errors" OFF)
set(TALLY_SANITIZE "" CACHE STRING "Sanitizers for -fsanitize=, e.g. address,undefined")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

# Paths relative to the tree: presets that compile alike then share what they compiled.
find_program(TALLY_CCACHE ccache)
if(TALLY_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} ${TALLY_CCACHE})
endif()
