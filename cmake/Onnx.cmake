# SPDX-License-Identifier: Apache-2.0
# Target aegis_onnx_proto: C structures and parser of the ONNX graph format, generated at build time.
# Include as <onnx.pb-c.h>. Wants protobuf-c and its compiler; the description comes from the dependency
# folder or, failing that, from the system (libonnx-dev).
include_guard(GLOBAL)
include(AegisDeps)

find_package(PkgConfig REQUIRED)
pkg_check_modules(PROTOBUF_C REQUIRED IMPORTED_TARGET libprotobuf-c>=1.3)
find_program(AEGISRT_PROTOC_C protoc-c DOC "Compiler of protobuf-c")
find_file(AEGISRT_ONNX_PROTO onnx.proto
  PATHS "${AEGISRT_DEPS_DIR}/onnx" /usr/include/onnx /usr/local/include/onnx
  NO_DEFAULT_PATH
  DOC "Description of the ONNX graph format")
mark_as_advanced(AEGISRT_PROTOC_C AEGISRT_ONNX_PROTO)
if(NOT AEGISRT_PROTOC_C OR NOT AEGISRT_ONNX_PROTO)
  message(FATAL_ERROR
    "Reading ONNX graphs needs protoc-c (found: ${AEGISRT_PROTOC_C}) and onnx.proto (found: ${AEGISRT_ONNX_PROTO}).\n"
    "Run 'make setup', or build without the backend: -DAEGISRT_BUILD_ONNXRUNTIME=OFF")
endif()

set(_aegis_onnx_dir "${PROJECT_BINARY_DIR}/generated/onnx")
file(MAKE_DIRECTORY "${_aegis_onnx_dir}")
get_filename_component(_aegis_onnx_proto_dir "${AEGISRT_ONNX_PROTO}" DIRECTORY)
add_custom_command(
  OUTPUT "${_aegis_onnx_dir}/onnx.pb-c.c" "${_aegis_onnx_dir}/onnx.pb-c.h"
  COMMAND "${AEGISRT_PROTOC_C}" "--c_out=${_aegis_onnx_dir}" "-I${_aegis_onnx_proto_dir}" "${AEGISRT_ONNX_PROTO}"
  DEPENDS "${AEGISRT_ONNX_PROTO}"
  COMMENT "Generating the reader of ONNX graphs"
  VERBATIM)
add_library(aegis_onnx_proto STATIC "${_aegis_onnx_dir}/onnx.pb-c.c" "${_aegis_onnx_dir}/onnx.pb-c.h")
target_include_directories(aegis_onnx_proto SYSTEM PUBLIC "${_aegis_onnx_dir}")
target_link_libraries(aegis_onnx_proto PUBLIC PkgConfig::PROTOBUF_C)
target_compile_options(aegis_onnx_proto PRIVATE -w) # generated code
if(AEGISRT_SANITIZE)
  target_compile_options(aegis_onnx_proto PRIVATE "-fsanitize=${AEGISRT_SANITIZE}" -fno-omit-frame-pointer)
endif()
