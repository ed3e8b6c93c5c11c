# SPDX-License-Identifier: Apache-2.0
# The CUDA language, for kernels (.cu), and the targets of the toolkit. Kernels are compiled for Orin (8.7) and
# H100/H200 (9.0), and as PTX for what comes later.
set(AEGISRT_CUDA_ARCHITECTURES "87-real;90-real;90-virtual" CACHE STRING "Architectures of CUDA kernels")
set(CMAKE_CUDA_ARCHITECTURES "${AEGISRT_CUDA_ARCHITECTURES}")
# The static runtime needs no driver to link or to start.
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
find_program(AEGISRT_NVCC nvcc HINTS "$ENV{CUDA_HOME}" /usr/local/cuda PATH_SUFFIXES bin DOC "CUDA's compiler")
mark_as_advanced(AEGISRT_NVCC)
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX} AND AEGISRT_NVCC)
  set(CMAKE_CUDA_COMPILER "${AEGISRT_NVCC}")
endif()
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
find_package(CUDAToolkit REQUIRED)
