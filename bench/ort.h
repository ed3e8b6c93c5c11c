/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BENCH_ORT_H
#define AEGIS_BENCH_ORT_H

/*
 * Plain ONNX Runtime, the way its users run it: one session a model with its default settings and
 * its own arena, one intra-op thread. What AegisRT is measured against. Inputs are those that the
 * workload names, made by the same code and seed as in AegisRT.
 */

#include <aegisrt/workload.h>

#include "backend/source.h"

#include <dlfcn.h>
#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ORT_MAX_TENSORS 32

typedef struct ort_runtime {
    const OrtApi *api;
    OrtEnv *env;
    OrtAllocator *allocator;
    OrtMemoryInfo *memory;
    bool cuda; /* sessions on the CUDA provider, as it comes */
} ort_runtime;

typedef struct ort_session {
    OrtSession *session;
    size_t input_count, output_count;
    char *input_names[ORT_MAX_TENSORS], *output_names[ORT_MAX_TENSORS];
    OrtValue *inputs[ORT_MAX_TENSORS];
    void *input_data[ORT_MAX_TENSORS];
    size_t input_bytes[ORT_MAX_TENSORS];
    const aegis_model_config *config;
} ort_session;

/* Ends the program with the runtime's words when a call failed. */
static inline void ort_check(const ort_runtime *ort, OrtStatus *status, const char *what)
{
    if (status != NULL) {
        fprintf(stderr, "%s: %s\n", what, ort->api->GetErrorMessage(status));
        exit(4);
    }
}

static inline void ort_require(bool condition, const char *what, const char *name)
{
    if (!condition) {
        fprintf(stderr, "%s: %s\n", what, name);
        exit(4);
    }
}

/* `library` is opened; NULL: the one that the build found. */
static inline void ort_open(ort_runtime *ort, const char *library)
{
    ort->cuda = false;
    const char *path = library != NULL ? library : AEGISRT_ONNXRUNTIME_LIBRARY;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    ort_require(handle != NULL, "cannot open ONNX Runtime", path);
    const OrtApiBase *(*get_base)(void) = NULL;
    void *symbol = dlsym(handle, "OrtGetApiBase");
    ort_require(symbol != NULL, "no OrtGetApiBase in", path);
    memcpy(&get_base, &symbol, sizeof get_base); /* ISO C has no cast from object to function */
    ort->api = get_base()->GetApi(ORT_API_VERSION);
    ort_require(ort->api != NULL, "too old for this build", path);
    ort_check(ort, ort->api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "bench", &ort->env), path);
    ort_check(ort, ort->api->GetAllocatorWithDefaultOptions(&ort->allocator), path);
    ort_check(ort,
              ort->api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &ort->memory),
              path);
}

static inline void ort_close(ort_runtime *ort)
{
    ort->api->ReleaseMemoryInfo(ort->memory);
    ort->api->ReleaseEnv(ort->env);
}

static inline aegis_element ort_element(ONNXTensorElementDataType type)
{
    static const aegis_element elements[] = {
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT] = AEGIS_ELEMENT_F32,
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16] = AEGIS_ELEMENT_F16,
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE] = AEGIS_ELEMENT_F64,
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8] = AEGIS_ELEMENT_I8,
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8] = AEGIS_ELEMENT_U8,
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16] = AEGIS_ELEMENT_I16,
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16] = AEGIS_ELEMENT_U16,
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32] = AEGIS_ELEMENT_I32,
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32] = AEGIS_ELEMENT_U32,
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64] = AEGIS_ELEMENT_I64,
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64] = AEGIS_ELEMENT_U64,
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL] = AEGIS_ELEMENT_BOOL};
    return (size_t)type < sizeof elements / sizeof elements[0] ? elements[type] : 0;
}

/* Element type and shape of an input: the model's, with the shape that the workload fixes. */
static inline void ort_describe_input(const ort_runtime *ort,
                                      const ort_session *session,
                                      size_t index,
                                      ONNXTensorElementDataType *ret_type,
                                      aegis_tensor_info *ret_info)
{
    const aegis_model_config *config = session->config;
    const OrtTensorTypeAndShapeInfo *shape;
    OrtTypeInfo *type;
    size_t rank;
    uint64_t elements = 0;
    *ret_info = (aegis_tensor_info){.name = session->input_names[index]};
    ort_check(ort, ort->api->SessionGetInputTypeInfo(session->session, index, &type), config->name);
    ort_check(ort, ort->api->CastTypeInfoToTensorInfo(type, &shape), config->name);
    ort_require(shape != NULL, "an input is no tensor", ret_info->name);
    ort_check(ort, ort->api->GetTensorElementType(shape, ret_type), config->name);
    ort_check(ort, ort->api->GetDimensionsCount(shape, &rank), config->name);
    ort_require(rank <= AEGIS_MAX_RANK, "too many dimensions", ret_info->name);
    ort_check(ort, ort->api->GetDimensions(shape, ret_info->shape, rank), config->name);
    ort->api->ReleaseTypeInfo(type);
    ret_info->element = ort_element(*ret_type);
    ret_info->rank = (int)rank;
    for (size_t i = 0; i < config->input_count; i++) {
        if (strcmp(config->inputs[i].name, ret_info->name) == 0) {
            ret_info->rank = config->inputs[i].rank;
            memcpy(ret_info->shape, config->inputs[i].shape, sizeof ret_info->shape);
        }
    }
    ort_require(ret_info->element != 0 &&
                    aegis_shape_elements(ret_info->shape, ret_info->rank, &elements),
                "no fixed shape or an unknown type", ret_info->name);
    ret_info->size_bytes = elements * aegis_element_bytes(ret_info->element);
}

static inline aegis_source ort_source_of(const ort_session *session, const char *input)
{
    aegis_source found = {.input = input, .kind = AEGIS_SOURCE_ZEROS};
    for (size_t i = 0; i < session->config->source_count; i++) {
        const aegis_source *source = &session->config->sources[i];
        if (source->input == NULL || strcmp(source->input, input) == 0) {
            found = *source;
            if (source->input != NULL) {
                break; /* one that names the input wins */
            }
        }
    }
    for (size_t i = 0; i < session->config->state_count; i++) {
        if (strcmp(session->config->state[i].input, input) == 0) {
            found.kind = AEGIS_SOURCE_ZEROS;
        }
    }
    if (found.kind == AEGIS_SOURCE_EXTERNAL) {
        found.kind = AEGIS_SOURCE_ZEROS;
    }
    return found;
}

static inline void ort_make_input(const ort_runtime *ort, ort_session *session, size_t index)
{
    const aegis_model_config *config = session->config;
    aegis_allocator allocator = aegis_allocator_default();
    ONNXTensorElementDataType type;
    aegis_tensor_info info;
    aegis_error error;
    ort_describe_input(ort, session, index, &type, &info);
    session->input_bytes[index] = info.size_bytes;
    session->input_data[index] = aligned_alloc(64, aegis_align_up(info.size_bytes + 1, 64));
    ort_require(session->input_data[index] != NULL, "no memory", info.name);
    aegis_source source = ort_source_of(session, info.name);
    if (aegis_source_fill(&source, &info, config->seed, &allocator, session->input_data[index],
                          &error) != AEGIS_OK) {
        ort_require(false, info.name, error.message);
    }
    ort_check(ort,
              ort->api->CreateTensorWithDataAsOrtValue(
                  ort->memory, session->input_data[index], info.size_bytes, info.shape,
                  (size_t)info.rank, type, &session->inputs[index]),
              config->name);
}

static inline void ort_use_cuda(const ort_runtime *ort, OrtSessionOptions *options)
{
    OrtCUDAProviderOptionsV2 *provider = NULL;
    ort_check(ort, ort->api->CreateCUDAProviderOptions(&provider), "CUDA provider");
    ort_check(ort, ort->api->SessionOptionsAppendExecutionProvider_CUDA_V2(options, provider),
              "CUDA provider");
    ort->api->ReleaseCUDAProviderOptions(provider);
}

/* A session with default settings but for its one thread, and tensors from the allocator that is
 * registered in the environment when `env_allocator` is set. */
static inline void ort_load_with(const ort_runtime *ort,
                                 const aegis_model_config *config,
                                 bool env_allocator,
                                 ort_session *ret_session)
{
    OrtSessionOptions *options;
    memset(ret_session, 0, sizeof *ret_session);
    ret_session->config = config;
    ort_check(ort, ort->api->CreateSessionOptions(&options), config->name);
    ort_check(ort, ort->api->SetIntraOpNumThreads(options, 1), config->name);
    if (env_allocator) {
        ort_check(ort, ort->api->AddSessionConfigEntry(options, "session.use_env_allocators", "1"),
                  config->name);
    }
    if (ort->cuda) {
        ort_use_cuda(ort, options);
    }
    ort_check(ort, ort->api->CreateSession(ort->env, config->path, options, &ret_session->session),
              config->path);
    ort->api->ReleaseSessionOptions(options);
    ort_check(ort, ort->api->SessionGetInputCount(ret_session->session, &ret_session->input_count),
              config->name);
    ort_check(ort,
              ort->api->SessionGetOutputCount(ret_session->session, &ret_session->output_count),
              config->name);
    ort_require(ret_session->input_count <= ORT_MAX_TENSORS &&
                    ret_session->output_count <= ORT_MAX_TENSORS,
                "too many inputs or outputs", config->name);
    for (size_t i = 0; i < ret_session->output_count; i++) {
        ort_check(ort,
                  ort->api->SessionGetOutputName(ret_session->session, i, ort->allocator,
                                                 &ret_session->output_names[i]),
                  config->name);
    }
    for (size_t i = 0; i < ret_session->input_count; i++) {
        ort_check(ort,
                  ort->api->SessionGetInputName(ret_session->session, i, ort->allocator,
                                                &ret_session->input_names[i]),
                  config->name);
        ort_make_input(ort, ret_session, i);
    }
}

static inline void
ort_load(const ort_runtime *ort, const aegis_model_config *config, ort_session *ret_session)
{
    ort_load_with(ort, config, false, ret_session);
}

/* Outputs that the next run reads, into their inputs. */
static inline void
ort_feed_back(const ort_runtime *ort, ort_session *session, OrtValue *const *outputs)
{
    const aegis_model_config *config = session->config;
    for (size_t s = 0; s < config->state_count; s++) {
        void *data = NULL;
        for (size_t i = 0; i < session->output_count; i++) {
            if (strcmp(session->output_names[i], config->state[s].output) == 0) {
                ort_check(ort, ort->api->GetTensorMutableData(outputs[i], &data), config->name);
            }
        }
        for (size_t i = 0; i < session->input_count && data != NULL; i++) {
            if (strcmp(session->input_names[i], config->state[s].input) == 0) {
                memcpy(session->input_data[i], data, session->input_bytes[i]);
            }
        }
    }
}

static inline void ort_run(const ort_runtime *ort, ort_session *session)
{
    OrtValue *outputs[ORT_MAX_TENSORS] = {NULL};
    ort_check(ort,
              ort->api->Run(session->session, NULL, (const char *const *)session->input_names,
                            (const OrtValue *const *)session->inputs, session->input_count,
                            (const char *const *)session->output_names, session->output_count,
                            outputs),
              session->config->name);
    ort_feed_back(ort, session, outputs);
    for (size_t i = 0; i < session->output_count; i++) {
        ort->api->ReleaseValue(outputs[i]);
    }
}

static inline void ort_unload(const ort_runtime *ort, ort_session *session)
{
    for (size_t i = 0; i < session->input_count; i++) {
        ort->api->ReleaseValue(session->inputs[i]);
        free(session->input_data[i]);
        ort_check(ort, ort->api->AllocatorFree(ort->allocator, session->input_names[i]), "free");
    }
    for (size_t i = 0; i < session->output_count; i++) {
        ort_check(ort, ort->api->AllocatorFree(ort->allocator, session->output_names[i]), "free");
    }
    ort->api->ReleaseSession(session->session);
}

#endif
