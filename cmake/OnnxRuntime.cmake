# SPDX-License-Identifier: Apache-2.0
# Finds ONNX Runtime. The library is opened at run time, so only its header is needed to build.
#
# Looks at ONNXRUNTIME_ROOT (variable, then environment), then pkg-config, then the dependency folder.
# Gives: target onnxruntime::headers, cache variable AEGISRT_ONNXRUNTIME_LIBRARY (full path of the shared
# library, compiled in as a candidate; may be empty), variable AEGISRT_ONNXRUNTIME_API (of the header).
include_guard(GLOBAL)
include(AegisDeps)

set(_aegis_ort_roots "")
if(ONNXRUNTIME_ROOT)
  list(APPEND _aegis_ort_roots "${ONNXRUNTIME_ROOT}")
elseif(DEFINED ENV{ONNXRUNTIME_ROOT})
  list(APPEND _aegis_ort_roots "$ENV{ONNXRUNTIME_ROOT}")
else()
  find_package(PkgConfig QUIET)
  if(PKG_CONFIG_FOUND)
    pkg_check_modules(AEGIS_ORT_PC QUIET libonnxruntime>=1.21)
  endif()
  list(APPEND _aegis_ort_roots ${AEGIS_ORT_PC_PREFIX} "${AEGISRT_DEPS_DIR}/onnxruntime")
endif()

find_path(AEGISRT_ONNXRUNTIME_INCLUDE_DIR onnxruntime_c_api.h
  HINTS ${_aegis_ort_roots}
  PATH_SUFFIXES include include/onnxruntime include/onnxruntime/core/session
  NO_DEFAULT_PATH
  DOC "Folder of onnxruntime_c_api.h")
find_library(AEGISRT_ONNXRUNTIME_LIBRARY
  NAMES libonnxruntime.so.1 onnxruntime
  HINTS ${_aegis_ort_roots} ${AEGIS_ORT_PC_LIBRARY_DIRS}
  PATH_SUFFIXES lib lib64 "lib/${CMAKE_LIBRARY_ARCHITECTURE}"
  NO_DEFAULT_PATH
  DOC "ONNX Runtime's shared library, opened at run time")
if(NOT AEGISRT_ONNXRUNTIME_LIBRARY)
  set(AEGISRT_ONNXRUNTIME_LIBRARY "" CACHE FILEPATH "ONNX Runtime's shared library, opened at run time" FORCE)
endif()
mark_as_advanced(AEGISRT_ONNXRUNTIME_INCLUDE_DIR AEGISRT_ONNXRUNTIME_LIBRARY)

if(NOT AEGISRT_ONNXRUNTIME_INCLUDE_DIR)
  message(FATAL_ERROR
    "onnxruntime_c_api.h was not found in: ${_aegis_ort_roots}\n"
    "Run 'make setup', set ONNXRUNTIME_ROOT, or build without the backend: -DAEGISRT_BUILD_ONNXRUNTIME=OFF")
endif()
file(STRINGS "${AEGISRT_ONNXRUNTIME_INCLUDE_DIR}/onnxruntime_c_api.h" _aegis_ort_version
  REGEX "^#define ORT_API_VERSION [0-9]+" LIMIT_COUNT 1)
string(REGEX MATCH "[0-9]+" AEGISRT_ONNXRUNTIME_API "${_aegis_ort_version}")
if(AEGISRT_ONNXRUNTIME_API LESS 21)
  message(FATAL_ERROR
    "ONNX Runtime's header in ${AEGISRT_ONNXRUNTIME_INCLUDE_DIR} has API ${AEGISRT_ONNXRUNTIME_API}; 21 or later is needed")
endif()

if(NOT TARGET onnxruntime::headers)
  add_library(onnxruntime::headers INTERFACE IMPORTED)
  # SYSTEM, as for every imported target: its warnings are not ours.
  set_target_properties(onnxruntime::headers PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${AEGISRT_ONNXRUNTIME_INCLUDE_DIR}")
endif()
