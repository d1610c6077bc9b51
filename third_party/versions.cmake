# Every dependency, found once. third_party/README.md says why each is here and who may link it.
find_package(Threads REQUIRED)
find_package(absl REQUIRED)                      # 20220623
find_package(pthreadpool REQUIRED)               # 2021-05
find_package(FlatBuffers REQUIRED)               # 2.0.8
find_package(nlohmann_json REQUIRED)             # 3.11
find_program(TALLY_FLATC flatc REQUIRED)
find_path(TALLY_XXHASH_INCLUDE_DIR xxhash.h REQUIRED)  # 0.8, used header-only
# Its forced inlining of functions called by pointer is an error with -Og.
add_compile_definitions($<$<CONFIG:Debug>:XXH_NO_INLINE_HINTS=1>)

# tally_find_optional(setting target package): resolves AUTO/ON/OFF to the boolean <setting>_FOUND.
function(tally_find_optional setting target package)
  set(found OFF)
  if(NOT ${setting} STREQUAL "OFF")
    find_package(${package} QUIET)
    if(TARGET ${target})
      set(found ON)
      set_target_properties(${target} PROPERTIES IMPORTED_GLOBAL TRUE)
    elseif(${setting} STREQUAL "ON")
      message(FATAL_ERROR "${setting}=ON, but ${package} was not found; scripts/setup installs it")
    endif()
  endif()
  set(${setting}_FOUND ${found} PARENT_SCOPE)
  message(STATUS "${package}: ${found}")
endfunction()

tally_find_optional(TALLY_ONEDNN oneDNN::oneDNN oneDNN)       # 2.6.3
tally_find_optional(TALLY_XNNPACK XNNPACK::XNNPACK XNNPACK)  # 2022-02

if(TALLY_CONVERTER)
  find_package(Protobuf REQUIRED)         # 3.21
  find_package(ONNX REQUIRED)             # 1.12
  find_package(Eigen3 REQUIRED NO_MODULE)  # 3.4
  find_package(JPEG REQUIRED)             # libjpeg-turbo 2.1
endif()
if(TALLY_BUILD_TOOLS)
  find_package(CLI11 REQUIRED)            # 2.1
  find_package(ZLIB REQUIRED)             # 1.2.13
  find_package(benchmark QUIET)           # 1.7
endif()
if(TALLY_BUILD_TESTS)
  find_package(GTest REQUIRED)            # 1.12
  find_package(rapidcheck REQUIRED)
endif()
