# SPDX-License-Identifier: Apache-2.0
# Toolchain: cross-building for aarch64 Linux on Debian or Ubuntu, tests under qemu-user. Compiler and
# libc are those of gcc-aarch64-linux-gnu; scripts/setup-aarch64.sh unpacks the other libraries.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(triple aarch64-linux-gnu)
set(CMAKE_C_COMPILER ${triple}-gcc)
set(CMAKE_CXX_COMPILER ${triple}-g++)

if(DEFINED ENV{AEGISRT_AARCH64_SYSROOT})
  set(libraries "$ENV{AEGISRT_AARCH64_SYSROOT}")
elseif(DEFINED ENV{AEGISRT_DEPS_DIR})
  set(libraries "$ENV{AEGISRT_DEPS_DIR}/aarch64-sysroot")
else()
  get_filename_component(libraries "${CMAKE_CURRENT_LIST_DIR}/../.deps/aarch64-sysroot" ABSOLUTE)
endif()
set(library_folder "${libraries}/usr/lib/${triple}")

# Not CMAKE_SYSROOT: the C library is the compiler's own.
set(flags "-isystem ${libraries}/usr/include -isystem ${libraries}/usr/include/${triple}")
set(CMAKE_C_FLAGS_INIT "${flags}")
set(CMAKE_CXX_FLAGS_INIT "${flags}")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-L${library_folder} -Wl,-rpath-link,${library_folder}")
set(CMAKE_SHARED_LINKER_FLAGS_INIT "${CMAKE_EXE_LINKER_FLAGS_INIT}")
set(CMAKE_BUILD_RPATH "${library_folder}")
set(ENV{PKG_CONFIG_LIBDIR} "${library_folder}/pkgconfig:${libraries}/usr/share/pkgconfig")
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${libraries}")
set(CMAKE_FIND_ROOT_PATH "${libraries}" "/usr/${triple}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)

set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/${triple})
