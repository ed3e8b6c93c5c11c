# SPDX-License-Identifier: Apache-2.0
# One shared library out of all layers, and what `make install` puts where.
if(AEGISRT_SANITIZE OR AEGISRT_FUZZ OR AEGISRT_COVERAGE)
  return() # such builds are not installed
endif()
include(CMakePackageConfigHelpers)

get_property(_aegis_layers GLOBAL PROPERTY AEGIS_LAYERS)
list(APPEND _aegis_layers aegis_sim)
set(_aegis_whole "")
foreach(layer ${_aegis_layers})
  list(APPEND _aegis_whole "$<TARGET_FILE:${layer}>")
endforeach()

# CMake wants a source; the contents come from the layers.
file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/generated/aegisrt.c" CONTENT "typedef int aegis_library;\n")
add_library(aegisrt SHARED "${PROJECT_BINARY_DIR}/generated/aegisrt.c")
add_library(aegisrt::aegisrt ALIAS aegisrt)
add_dependencies(aegisrt ${_aegis_layers})
# The layers first as files, so that all of each goes in; then as targets, for what they link.
target_link_libraries(aegisrt PRIVATE
  "-Wl,--whole-archive" ${_aegis_whole} "-Wl,--no-whole-archive" ${_aegis_layers})
target_link_options(aegisrt PRIVATE
  "-Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/aegisrt.map")
set_target_properties(aegisrt PROPERTIES
  LINKER_LANGUAGE CXX # the TOML adapter
  LINK_DEPENDS "${PROJECT_SOURCE_DIR}/cmake/aegisrt.map"
  VERSION "${PROJECT_VERSION}"
  SOVERSION "${PROJECT_VERSION_MAJOR}")
target_include_directories(aegisrt INTERFACE
  "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>" "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")

install(TARGETS aegisrt EXPORT aegisrtTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/aegisrt" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILES_MATCHING PATTERN "*.h")
install(TARGETS aegisrt_cli edge_rt_cli RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(FILES "${PROJECT_SOURCE_DIR}/docs/man/aegisrt.1" "${PROJECT_SOURCE_DIR}/docs/man/edge-rt.1"
  DESTINATION "${CMAKE_INSTALL_MANDIR}/man1")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" "${PROJECT_SOURCE_DIR}/README.md" DESTINATION "${CMAKE_INSTALL_DOCDIR}")

set(_aegis_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/aegisrt")
configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/aegisrtConfig.cmake.in" "${PROJECT_BINARY_DIR}/generated/aegisrtConfig.cmake"
  INSTALL_DESTINATION "${_aegis_package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/generated/aegisrtConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion) # until 1.0
# Relative, so that an installed tree can be moved.
file(RELATIVE_PATH AEGIS_PC_UP "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" AEGIS_PC_UP "${AEGIS_PC_UP}")
configure_file("${PROJECT_SOURCE_DIR}/cmake/aegisrt.pc.in" "${PROJECT_BINARY_DIR}/generated/aegisrt.pc" @ONLY)
install(EXPORT aegisrtTargets NAMESPACE aegisrt:: DESTINATION "${_aegis_package_dir}")
install(FILES
  "${PROJECT_BINARY_DIR}/generated/aegisrtConfig.cmake"
  "${PROJECT_BINARY_DIR}/generated/aegisrtConfigVersion.cmake"
  DESTINATION "${_aegis_package_dir}")
install(FILES "${PROJECT_BINARY_DIR}/generated/aegisrt.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
