# Installation: static libraries under tally::, one shared library tally::shared, headers, CMake package, tally.pc.
include(CMakePackageConfigHelpers)

# The whole runtime with every backend of this build. What embedders link.
add_library(tally_runtime INTERFACE)
target_link_libraries(tally_runtime INTERFACE tally_backends_all)
target_include_directories(tally_runtime INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/runtime/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

# For backends outside the tree: the headers of the graph and the backend interface, under their paths in the tree.
add_library(tally_extension INTERFACE)
target_link_libraries(tally_extension INTERFACE tally_runtime)
target_include_directories(tally_extension INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/tally/extension>)

# One shared library from the objects of the runtime's static ones; the vendors' libraries stay behind it.
get_property(libraries GLOBAL PROPERTY TALLY_LIBRARIES)
list(FILTER libraries INCLUDE REGEX "^tally_(format|core|ops|backend|exec|nearmem)")
add_library(tally_shared SHARED)
foreach(library IN LISTS libraries)
  target_sources(tally_shared PRIVATE $<TARGET_OBJECTS:${library}>)
endforeach()
target_link_libraries(tally_shared PRIVATE absl::cord absl::strings absl::str_format pthreadpool::pthreadpool
  Threads::Threads)
if(TALLY_ONEDNN_FOUND)
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  target_link_libraries(tally_shared PRIVATE oneDNN::oneDNN OpenMP::OpenMP_CXX)
endif()
if(TALLY_XNNPACK_FOUND)
  target_link_libraries(tally_shared PRIVATE XNNPACK::XNNPACK)
endif()
target_include_directories(tally_shared PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/runtime/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(tally_shared PUBLIC absl::status absl::statusor)
set_target_properties(tally_shared PROPERTIES OUTPUT_NAME tally VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})

get_property(libraries GLOBAL PROPERTY TALLY_LIBRARIES)
set(installed ${libraries} tally_runtime tally_extension tally_shared)
if(TARGET tally_converter)
  list(APPEND installed tally_converter)
  list(REMOVE_DUPLICATES installed)
endif()
foreach(target IN LISTS installed)
  string(REPLACE "tally_" "" exported ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${exported})
  if(NOT TARGET tally::${exported})
    add_library(tally::${exported} ALIAS ${target})
  endif()
endforeach()
install(TARGETS ${installed} EXPORT tallyTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT tallyTargets NAMESPACE tally:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tally)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/runtime/include/tally DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES format/graph.h format/codebook.h format/limits.h format/error.h format/error_codes.inc
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tally/extension/format)
install(FILES runtime/backend/backend.h runtime/backend/registry.h
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tally/extension/runtime/backend)
install(FILES runtime/core/cpu.h runtime/core/thread_pool.h
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tally/extension/runtime/core)
install(FILES backends/all/all.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tally/extension/backends/all)
if(TALLY_BUILD_TOOLS)
  install(TARGETS tally tally_benchmark_model tally_dram_replay RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

configure_package_config_file(cmake/tallyConfig.cmake.in ${CMAKE_BINARY_DIR}/tallyConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tally)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/tallyConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/tallyConfig.cmake ${CMAKE_BINARY_DIR}/tallyConfigVersion.cmake
  cmake/FindXNNPACK.cmake cmake/FindoneDNN.cmake cmake/Findpthreadpool.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tally)

# tally.pc describes the shared library: nothing of the vendors' leaks into a link line.
file(RELATIVE_PATH TALLY_PC_TO_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(cmake/tally.pc.in ${CMAKE_BINARY_DIR}/tally.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/tally.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
