/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "backend.onnxruntime"

ONNXTensorElementDataType aegis_ort_element(aegis_element element)
{
    switch (element) {
    case AEGIS_ELEMENT_F32:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    case AEGIS_ELEMENT_F16:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    case AEGIS_ELEMENT_BF16:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
    case AEGIS_ELEMENT_F64:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE;
    case AEGIS_ELEMENT_I8:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
    case AEGIS_ELEMENT_U8:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
    case AEGIS_ELEMENT_I16:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16;
    case AEGIS_ELEMENT_U16:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16;
    case AEGIS_ELEMENT_I32:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
    case AEGIS_ELEMENT_U32:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32;
    case AEGIS_ELEMENT_I64:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    case AEGIS_ELEMENT_U64:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64;
    case AEGIS_ELEMENT_BOOL:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL;
    }
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

bool aegis_ort_element_of(ONNXTensorElementDataType type, aegis_element *ret_element)
{
    for (int i = AEGIS_ELEMENT_F32; i <= AEGIS_ELEMENT_BOOL; i++) {
        if (aegis_ort_element((aegis_element)i) == type) {
            *ret_element = (aegis_element)i;
            return true;
        }
    }
    return false;
}

static OrtStatus *add_weights(aegis_ort_session *session,
                              const aegis_ort_session_config *config,
                              OrtSessionOptions *options)
{
    const OrtApi *api = session->ort->api;
    OrtStatus *native = NULL;
    for (size_t i = 0; i < config->part->weight_count && native == NULL; i++) {
        const aegis_ort_weight *weight = &config->compiled->weights[config->part->weights[i]];
        unsigned char *bytes = (unsigned char *)config->chunks[weight->chunk] +
                               (weight->offset - config->compiled->chunks[weight->chunk].offset);
        /* ONNX and ONNX Runtime number their element types alike. */
        native = api->CreateTensorWithDataAsOrtValue(
            session->ort->memory, bytes, weight->length, weight->dims, weight->rank,
            (ONNXTensorElementDataType)weight->onnx_type, &session->weights[i]);
        if (native == NULL) {
            native = api->AddInitializer(options, weight->name, session->weights[i]);
        }
    }
    return native;
}

/* On a device the graph is optimised for it now, and the runtime itself takes weights there. */
static GraphOptimizationLevel level_of(const aegis_ort_session_config *config)
{
    return config->compiled->at_load || config->cuda != NULL ? ORT_ENABLE_ALL : ORT_DISABLE_ALL;
}

static OrtStatus *configure(aegis_ort_session *session,
                            const aegis_ort_session_config *config,
                            bool strict,
                            OrtSessionOptions **ret_options)
{
    const OrtApi *api = session->ort->api;
    OrtStatus *native = aegis_ort_base_options(session->ort, config->threads, ret_options);
    if (native != NULL) {
        return native;
    }
    OrtSessionOptions *options = *ret_options;
    if ((native = api->SetSessionGraphOptimizationLevel(options, level_of(config))) != NULL) {
        return native;
    }
    if (config->context != NULL &&
        (native = api->AddSessionConfigEntry(options, "session.use_env_allocators", "1")) != NULL) {
        return native;
    }
    if (!config->prepack &&
        (native = api->AddSessionConfigEntry(options, "session.disable_prepacking", "1")) != NULL) {
        return native;
    }
    if (config->profile != NULL &&
        (native = api->EnableProfiling(options, config->profile)) != NULL) {
        return native;
    }
    if (config->threads > 1 && config->context != NULL &&
        (native = aegis_ort_own_threads(session->ort, options, config->context)) != NULL) {
        return native;
    }
    return config->cuda != NULL
               ? aegis_ort_cuda_configure(session->ort, config->cuda, options, strict)
               : add_weights(session, config, options);
}

/* The bytes of a part, and that they are those of its hash. */
static aegis_status read_part(const aegis_ort_part *part,
                              const aegis_allocator *allocator,
                              char **ret_bytes,
                              size_t *ret_size,
                              aegis_error *err)
{
    char hash[AEGIS_SHA256_HEX_BYTES], *bytes = NULL;
    size_t size = 0;
    aegis_status status =
        aegis_file_read(part->path, UINT64_C(1) << 31, allocator, &bytes, &size, err);
    if (status == AEGIS_OK && part->hash[0] != '\0') {
        status = aegis_sha256_bytes(bytes, size, hash, err);
        if (status == AEGIS_OK && strcmp(hash, part->hash) != 0) {
            status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE,
                                     "%s has changed since it was opened", part->path);
        }
    }
    if (status != AEGIS_OK) {
        aegis_file_free(allocator, bytes, size);
        return status;
    }
    *ret_bytes = bytes;
    *ret_size = size;
    return AEGIS_OK;
}

/* The whole compiled graph comes from its file, because external initialisers are looked for beside
 * it. A graph to be optimised at load has them beside the original, a segment in the folder of the
 * compiled model: both come from memory, with that folder's name. */
static OrtStatus *create(aegis_ort_session *session,
                         const aegis_ort_session_config *config,
                         OrtSessionOptions *options,
                         aegis_error *err,
                         aegis_status *ret_status)
{
    const OrtApi *api = session->ort->api;
    const aegis_ort_compiled *compiled = config->compiled;
    if (!compiled->at_load && strcmp(config->part->path, compiled->graph_path) == 0) {
        return api->CreateSession(session->ort->env, compiled->graph_path, options,
                                  &session->session);
    }
    char *bytes = NULL;
    size_t size = 0;
    OrtStatus *native =
        api->AddSessionConfigEntry(options, "session.model_external_initializers_file_folder_path",
                                   compiled->at_load ? compiled->model_folder : compiled->folder);
    if (native == NULL) {
        *ret_status = read_part(config->part, &session->allocator, &bytes, &size, err);
    }
    if (native == NULL && *ret_status == AEGIS_OK) {
        native =
            api->CreateSessionFromArray(session->ort->env, bytes, size, options, &session->session);
    }
    aegis_file_free(&session->allocator, bytes, size);
    return native;
}

static OrtStatus *attempt(aegis_ort_session *session,
                          const aegis_ort_session_config *config,
                          bool strict,
                          aegis_error *err,
                          aegis_status *ret_status)
{
    OrtSessionOptions *options = NULL;
    OrtStatus *native = configure(session, config, strict, &options);
    if (native == NULL) {
        native = create(session, config, options, err, ret_status);
    }
    if (options != NULL) {
        session->ort->api->ReleaseSessionOptions(options);
    }
    return native;
}

/* Some nodes have no kernel on the device: made again to learn which, and kept if that is allowed.
 */
static OrtStatus *attempt_with_cpu(aegis_ort_session *session,
                                   const aegis_ort_session_config *config,
                                   aegis_error *err,
                                   aegis_status *ret_status)
{
    aegis_ort_cuda *cuda = config->cuda;
    aegis_ort_cpu_nodes nodes;
    aegis_ort_cpu_nodes_listen(&nodes);
    OrtStatus *native = attempt(session, config, false, err, ret_status);
    aegis_ort_cpu_nodes_end();
    if (native != NULL || *ret_status != AEGIS_OK) {
        return native;
    }
    if (cuda->allow_cpu_nodes) {
        snprintf(cuda->cpu_nodes, sizeof cuda->cpu_nodes, "%u nodes on the CPU: %s", nodes.count,
                 nodes.names);
    } else {
        *ret_status = aegis_error_set(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
            "the CUDA provider leaves %u nodes on the CPU: %s; change the model, write cpu_nodes = "
            "\"allow\", or run it on the host",
            nodes.count, nodes.names);
    }
    return NULL;
}

aegis_status aegis_ort_session_create(const aegis_ort *ort,
                                      const aegis_ort_session_config *config,
                                      const aegis_allocator *allocator,
                                      aegis_ort_session *ret_session,
                                      aegis_error *err)
{
    aegis_ort_session session = {.ort = ort, .allocator = *allocator};
    aegis_status status = AEGIS_OK;
    size_t weights = config->part->weight_count;
    session.weights = aegis_allocate_zeroed(allocator, weights + 1, sizeof(OrtValue *));
    session.weight_count = session.weights == NULL ? 0 : weights;
    if (session.weights == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for a session");
    }
    OrtStatus *native = attempt(&session, config, true, err, &status);
    if (native != NULL && config->cuda != NULL && aegis_ort_cuda_is_refusal(ort, native)) {
        ort->api->ReleaseStatus(native);
        native = attempt_with_cpu(&session, config, err, &status);
    }
    if (native != NULL) {
        status = aegis_ort_error(ort, native, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE,
                                 "cannot load the compiled model", err);
    }
    if (status != AEGIS_OK) {
        aegis_ort_session_finish(&session);
        return status;
    }
    *ret_session = session;
    return AEGIS_OK;
}

static void release_values(const aegis_ort_session *session, OrtValue **values, size_t count)
{
    for (size_t i = 0; values != NULL && i < count; i++) {
        if (values[i] != NULL) {
            session->ort->api->ReleaseValue(values[i]);
        }
    }
    aegis_deallocate(&session->allocator, values, count + 1, sizeof *values);
}

static OrtStatus *make_value(const aegis_ort_session *session,
                             const OrtMemoryInfo *memory,
                             const aegis_tensor_info *info,
                             void *data,
                             OrtValue **ret_value)
{
    return session->ort->api->CreateTensorWithDataAsOrtValue(
        memory != NULL ? memory : session->ort->memory, data, info->size_bytes, info->shape,
        (size_t)info->rank, aegis_ort_element(info->element), ret_value);
}

static OrtStatus *make_operand(const aegis_ort_session *session,
                               const aegis_ort_binding *binding,
                               aegis_ort_operand operand,
                               uint32_t slot,
                               uint32_t parity,
                               OrtValue **ret_value)
{
    const aegis_surface *surface = binding->surface;
    uint32_t index = operand.index;
    switch (operand.role) {
    case AEGIS_ORT_ROLE_INPUT:
        return make_value(session, binding->memory, &surface->inputs[index],
                          aegis_surface_input_pointer(surface, index, slot, parity), ret_value);
    case AEGIS_ORT_ROLE_OUTPUT:
        return make_value(session, binding->memory, &surface->outputs[index],
                          aegis_surface_output_pointer(surface, index, slot, parity), ret_value);
    case AEGIS_ORT_ROLE_BOUNDARY:
        break;
    }
    return make_value(session, binding->memory, &binding->boundaries[index].info,
                      binding->boundary_pointers[index], ret_value);
}

aegis_status aegis_ort_session_bind(aegis_ort_session *session,
                                    const aegis_ort_binding *binding,
                                    aegis_error *err)
{
    const aegis_ort_part *part = binding->part;
    size_t inputs = part->input_count, outputs = binding->inputs_only ? 0 : part->output_count;
    size_t each = inputs + outputs, count = 2 * (size_t)binding->surface->slots * each;
    OrtValue **values = aegis_allocate_zeroed(&session->allocator, count + 1, sizeof(OrtValue *));
    if (values == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to bind");
    }
    OrtStatus *native = NULL;
    for (size_t i = 0; i < count && native == NULL; i++) {
        native = make_operand(session, binding, part->operands[i % each], (uint32_t)(i / each / 2),
                              (uint32_t)(i / each % 2), &values[i]);
    }
    if (native != NULL) {
        release_values(session, values, count);
        return aegis_ort_error(session->ort, native, AEGIS_HERE(COMPONENT),
                               AEGIS_ERROR_ENGINE_DESERIALIZE, "cannot bind inputs and outputs",
                               err);
    }
    release_values(session, session->values, session->value_count);
    session->values = values;
    session->value_count = count;
    session->input_count = inputs;
    session->output_count = outputs;
    return AEGIS_OK;
}

OrtValue **
aegis_ort_session_values(const aegis_ort_session *session, uint32_t slot, uint32_t parity)
{
    return session->values +
           (2 * (size_t)slot + parity) * (session->input_count + session->output_count);
}

void aegis_ort_session_finish(aegis_ort_session *session)
{
    if (session->ort == NULL) {
        return;
    }
    if (session->session != NULL) {
        session->ort->api->ReleaseSession(session->session);
    }
    release_values(session, session->values, session->value_count);
    release_values(session, session->weights, session->weight_count);
    memset(session, 0, sizeof *session);
}
