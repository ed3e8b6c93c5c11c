# SPDX-License-Identifier: Apache-2.0
# Compiler options of every target, the layer function and the sanitizer switches.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON) # POSIX and GNU interfaces; the public headers are plain C11
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

option(AEGISRT_WERROR "Warnings are errors" OFF)
set(AEGISRT_SANITIZE "" CACHE STRING "Sanitizers, for example address,undefined or thread")
option(AEGISRT_COVERAGE "Line and branch coverage" OFF)
option(AEGISRT_FUZZ "libFuzzer targets (clang)" OFF)

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

add_library(aegis_flags INTERFACE)
target_compile_definitions(aegis_flags INTERFACE _GNU_SOURCE)
target_compile_options(aegis_flags INTERFACE
  $<$<COMPILE_LANGUAGE:C,CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wswitch-enum
    -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/= -fno-common -fvisibility=default>
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes>
  # Messages and paths are cut on purpose when they do not fit.
  $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation>)
if(AEGISRT_WERROR)
  target_compile_options(aegis_flags INTERFACE $<$<COMPILE_LANGUAGE:C,CXX>:-Werror>)
endif()
if(AEGISRT_SANITIZE)
  target_compile_options(aegis_flags INTERFACE
    $<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=${AEGISRT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all>)
  target_link_options(aegis_flags INTERFACE -fsanitize=${AEGISRT_SANITIZE})
endif()
if(AEGISRT_FUZZ)
  target_compile_options(aegis_flags INTERFACE $<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=fuzzer-no-link>)
endif()
if(AEGISRT_COVERAGE AND CMAKE_C_COMPILER_ID STREQUAL "Clang")
  target_compile_options(aegis_flags INTERFACE
    $<$<COMPILE_LANGUAGE:C>:-fprofile-instr-generate -fcoverage-mapping -fcoverage-mcdc>)
  target_link_options(aegis_flags INTERFACE -fprofile-instr-generate)
elseif(AEGISRT_COVERAGE)
  target_compile_options(aegis_flags INTERFACE $<$<COMPILE_LANGUAGE:C,CXX>:--coverage>)
  target_link_options(aegis_flags INTERFACE --coverage)
endif()
target_include_directories(aegis_flags INTERFACE
  ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(aegis_flags INTERFACE Threads::Threads)

# aegis_layer(NAME SOURCES... USES layers...): one static library a folder, linking downwards only.
function(aegis_layer name)
  cmake_parse_arguments(L "" "" "SOURCES;USES" ${ARGN})
  add_library(aegis_${name} STATIC ${L_SOURCES})
  target_link_libraries(aegis_${name} PUBLIC aegis_flags ${L_USES})
  set_property(GLOBAL APPEND PROPERTY AEGIS_LAYERS aegis_${name})
endfunction()
