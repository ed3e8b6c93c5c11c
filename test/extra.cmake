# SPDX-License-Identifier: Apache-2.0
# Registrations that the file globs cannot express. Included by CMakeLists.txt.

# The conformance suite of devices: one code over host, CUDA and the scripted device.
file(GLOB device_conformance CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/support/device/*.c)
foreach(target test_unit_device_conformance test_unit_sim_scripted_conformance)
  if(TARGET ${target})
    target_sources(${target} PRIVATE ${device_conformance})
  endif()
endforeach()
if(AEGISRT_BUILD_CUDA AND TARGET test_unit_device_conformance)
  add_test(NAME unit.device.conformance_cuda COMMAND test_unit_device_conformance)
  set_tests_properties(unit.device.conformance_cuda PROPERTIES LABELS "unit;gpu"
    SKIP_RETURN_CODE 77 TIMEOUT 600 ENVIRONMENT "AEGISRT_TEST_DEVICE=cuda")
endif()

# What needs a GPU: label gpu, exit 77 without one. Each fault in a process of its own.
if(AEGISRT_BUILD_CUDA)
  include(support/cuda/kernels.cmake)
  foreach(name ahead captures faults heap streams)
    add_executable(test_gpu_${name} ${CMAKE_CURRENT_SOURCE_DIR}/gpu/test_${name}.c)
    target_link_libraries(test_gpu_${name} PRIVATE aegis_sim aegis_kernels)
  endforeach()
  foreach(name ahead captures heap streams)
    add_test(NAME gpu.${name} COMMAND test_gpu_${name})
    set_tests_properties(gpu.${name} PROPERTIES LABELS gpu SKIP_RETURN_CODE 77 TIMEOUT 120)
  endforeach()
  foreach(case trap illegal_address trap_in_a_segment illegal_address_in_a_segment out_of_memory_at_create
      hung_kernel hung_kernel_waited_for hung_kernel_polled_for hung_kernel_in_a_segment slow_kernel_is_no_fault)
    add_test(NAME gpu.fault.${case} COMMAND test_gpu_faults ${case})
    # Shorter than the longest that a kernel hangs.
    set_tests_properties(gpu.fault.${case} PROPERTIES LABELS "gpu;gpu-fault" SKIP_RETURN_CODE 77 TIMEOUT 15)
  endforeach()
endif()
# Label gpu-cases: the program names its cases, and runs one of them alone (test/support/gpu_cases.h).
if(TARGET test_integration_onnx_cuda)
  set_tests_properties(integration.onnx_cuda PROPERTIES LABELS "integration;gpu;gpu-cases")
endif()
if(TARGET test_integration_onnx_cuda_copies)
  set_tests_properties(integration.onnx_cuda_copies PROPERTIES LABELS "integration;gpu;gpu-cases")
endif()
foreach(name transformer_cuda transformer_cuda_streamed transformer_cuda_prompt transformer_cuda_prompt_streamed
    language_cuda)
  if(TARGET test_integration_${name})
    target_link_libraries(test_integration_${name} PRIVATE m)
    set_tests_properties(integration.${name} PROPERTIES LABELS "integration;gpu;gpu-cases")
  endif()
endforeach()

# The Perfetto export that unit.trace.export leaves behind, decoded with Perfetto's own classes.
if(TARGET test_unit_trace_export)
  include(AegisDeps)
  set_property(TEST unit.trace.export APPEND PROPERTY FIXTURES_SETUP trace_sample)
  add_test(NAME unit.trace.perfetto COMMAND sh -c
    "python=\"$1/venv/bin/python\"; test -x \"$python\" || python=python3; exec \"$python\" \"$2\" \"$3\" --sample"
    sh "${AEGISRT_DEPS_DIR}" "${CMAKE_CURRENT_SOURCE_DIR}/python/check_perfetto.py"
    "${PROJECT_BINARY_DIR}/trace_sample.perfetto")
  set_tests_properties(unit.trace.perfetto PROPERTIES LABELS unit SKIP_RETURN_CODE 77 TIMEOUT 120
    FIXTURES_REQUIRED trace_sample)
endif()

# The example of a policy of one's own, as a program against the public headers. 3: this machine is
# so busy that it was not admitted.
if(TARGET aegis_sim)
  add_executable(example_policy ${PROJECT_SOURCE_DIR}/examples/policy/main.c)
  target_link_libraries(example_policy PRIVATE aegis_sim)
  add_test(NAME integration.example_policy COMMAND example_policy
    ${PROJECT_SOURCE_DIR}/examples/policy/policy.toml ${PROJECT_BINARY_DIR}/example_policy.trace)
  set_tests_properties(integration.example_policy PROPERTIES LABELS integration RUN_SERIAL TRUE
    SKIP_RETURN_CODE 3 TIMEOUT ${AEGIS_TEST_SECONDS}
    ENVIRONMENT "AEGISRT_CACHE_DIR=${PROJECT_BINARY_DIR}/example_policy_cache")
endif()

# The statistics of profiles, recomputed by other means.
if(TARGET test_unit_schedule_extreme)
  find_program(AEGISRT_PYTHON3 python3)
  if(AEGISRT_PYTHON3)
    add_test(NAME unit.schedule.profile_oracle COMMAND ${AEGISRT_PYTHON3} -B
      "${CMAKE_CURRENT_SOURCE_DIR}/python/check_profile_statistics.py"
      "$<TARGET_FILE:test_unit_schedule_extreme>")
    set_tests_properties(unit.schedule.profile_oracle PROPERTIES LABELS unit TIMEOUT 300)
  endif()
endif()

# The dip test behind statements on determinism, against known cases and an oracle.
find_program(AEGISRT_PYTHON3 python3)
if(AEGISRT_PYTHON3)
  add_test(NAME unit.bench.determinism COMMAND ${AEGISRT_PYTHON3} -B
    "${CMAKE_CURRENT_SOURCE_DIR}/python/check_determinism.py")
  set_tests_properties(unit.bench.determinism PROPERTIES LABELS unit TIMEOUT 300)
endif()

# The runner of GPU tests under compute-sanitizer, with a made-up one.
if(AEGISRT_PYTHON3)
  add_test(NAME unit.scripts.gpu_sanitize COMMAND ${AEGISRT_PYTHON3} -B
    "${CMAKE_CURRENT_SOURCE_DIR}/python/check_gpu_sanitize.py" "${PROJECT_SOURCE_DIR}/scripts/gpu_sanitize.py")
  set_tests_properties(unit.scripts.gpu_sanitize PROPERTIES LABELS unit TIMEOUT 120)
endif()

# The tokenizer against the Python package `tokenizers`, on 10,000 made texts and all of Unicode.
include(AegisDeps)
add_executable(tokenize_lines ${CMAKE_CURRENT_SOURCE_DIR}/python/tokenize_lines.c)
target_link_libraries(tokenize_lines PRIVATE aegis_backend)
add_test(NAME integration.tokenizer COMMAND sh -c
  "python=\"$1/venv/bin/python\"; test -x \"$python\" || python=python3; exec \"$python\" \"$2\" \"$3\" \"$4\" \"$5\""
  sh "${AEGISRT_DEPS_DIR}" "${CMAKE_CURRENT_SOURCE_DIR}/python/check_tokenizer.py" $<TARGET_FILE:tokenize_lines>
  "${PROJECT_SOURCE_DIR}/models" "${PROJECT_BINARY_DIR}/tokenizer_test")
set_tests_properties(integration.tokenizer PROPERTIES LABELS integration SKIP_RETURN_CODE 77
  TIMEOUT ${AEGIS_TEST_SECONDS})

# The converter from GGUF: a made file, through every form, read back where the graph says it lies.
add_executable(describe_model ${CMAKE_CURRENT_SOURCE_DIR}/python/describe_model.c)
target_link_libraries(describe_model PRIVATE aegis_backend)
add_test(NAME integration.converter COMMAND sh -c
  "python=\"$1/venv/bin/python\"; test -x \"$python\" || python=python3; exec \"$python\" \"$2\" \"$3\" \"$4\" \"$5\""
  sh "${AEGISRT_DEPS_DIR}" "${CMAKE_CURRENT_SOURCE_DIR}/python/check_converter.py"
  "${PROJECT_SOURCE_DIR}/tools/gguf_to_safetensors.py" $<TARGET_FILE:describe_model>
  "${PROJECT_BINARY_DIR}/converter_test")
set_tests_properties(integration.converter PROPERTIES LABELS integration SKIP_RETURN_CODE 77
  TIMEOUT ${AEGIS_TEST_SECONDS})

# Tokens and logits for scripts/test-aarch64.sh to compare.
add_executable(print_logits ${CMAKE_CURRENT_SOURCE_DIR}/python/print_logits.c)
target_link_libraries(print_logits PRIVATE aegis_backend)
