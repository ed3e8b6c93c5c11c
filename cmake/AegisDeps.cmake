# SPDX-License-Identifier: Apache-2.0
# Where scripts/setup.sh puts what is not a system package.
if(DEFINED ENV{AEGISRT_DEPS_DIR})
  set(AEGISRT_DEPS_DIR_DEFAULT "$ENV{AEGISRT_DEPS_DIR}")
else()
  set(AEGISRT_DEPS_DIR_DEFAULT "${PROJECT_SOURCE_DIR}/.deps")
endif()
set(AEGISRT_DEPS_DIR "${AEGISRT_DEPS_DIR_DEFAULT}" CACHE PATH "Folder filled by scripts/setup.sh")
