# SPDX-License-Identifier: Apache-2.0
# Kernels of known length and of known faults, and a backend made of them; for tests and benchmarks.
if(NOT TARGET aegis_kernels)
  add_library(aegis_kernels STATIC ${CMAKE_CURRENT_LIST_DIR}/kernels.cu ${CMAKE_CURRENT_LIST_DIR}/kernel_backend.c)
  target_include_directories(aegis_kernels PUBLIC ${PROJECT_SOURCE_DIR}/test ${PROJECT_SOURCE_DIR}/include)
  target_compile_definitions(aegis_kernels PUBLIC _GNU_SOURCE)
  target_link_libraries(aegis_kernels PUBLIC CUDA::cudart_static)
endif()
