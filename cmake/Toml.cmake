# SPDX-License-Identifier: Apache-2.0
# Target aegis_tomlplusplus: the headers of toml++ 3.4 or later, from the dependency folder or, failing that, from the
# system (libtomlplusplus-dev of Debian 13 and Ubuntu 24.04; older releases have an older one or none).
include_guard(GLOBAL)
include(AegisDeps)

find_path(AEGISRT_TOMLPLUSPLUS toml++/impl/preprocessor.hpp
  PATHS "${AEGISRT_DEPS_DIR}/tomlplusplus" /usr/local/include /usr/include
  NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH
  DOC "Folder that holds toml++/, the headers of toml++ 3.4 or later")
mark_as_advanced(AEGISRT_TOMLPLUSPLUS)
if(NOT AEGISRT_TOMLPLUSPLUS)
  message(FATAL_ERROR
    "toml++ 3.4 or later is neither in ${AEGISRT_DEPS_DIR}/tomlplusplus nor in /usr/include.\n"
    "Run 'make setup', or give its folder: -DAEGISRT_TOMLPLUSPLUS=FOLDER")
endif()
add_library(aegis_tomlplusplus INTERFACE)
if(NOT AEGISRT_TOMLPLUSPLUS STREQUAL "/usr/include")
  target_include_directories(aegis_tomlplusplus SYSTEM INTERFACE "${AEGISRT_TOMLPLUSPLUS}")
endif()
