/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/session.h"

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

static OrtStatus *add_weights(aegis_ort_session *session,
                              const aegis_ort_compiled *compiled,
                              unsigned char *weights,
                              OrtSessionOptions *options)
{
    const OrtApi *api = session->ort->api;
    OrtStatus *native = NULL;
    for (size_t i = 0; i < compiled->weight_count && native == NULL; i++) {
        const aegis_ort_weight *weight = &compiled->weights[i];
        /* ONNX and ONNX Runtime number their element types alike. */
        native = api->CreateTensorWithDataAsOrtValue(
            session->ort->memory, weights + weight->offset, weight->length, weight->dims,
            weight->rank, (ONNXTensorElementDataType)weight->onnx_type, &session->weights[i]);
        if (native == NULL) {
            native = api->AddInitializer(options, weight->name, session->weights[i]);
        }
    }
    return native;
}

static OrtStatus *configure(aegis_ort_session *session,
                            const aegis_ort_compiled *compiled,
                            unsigned threads,
                            bool prepack,
                            void *weights,
                            aegis_ort_context *context,
                            OrtSessionOptions **ret_options)
{
    const OrtApi *api = session->ort->api;
    OrtStatus *native = aegis_ort_base_options(session->ort, threads, ret_options);
    if (native != NULL) {
        return native;
    }
    OrtSessionOptions *options = *ret_options;
    if ((native = api->AddSessionConfigEntry(options, "session.use_env_allocators", "1")) != NULL ||
        (native = api->SetSessionGraphOptimizationLevel(
             options, compiled->at_load ? ORT_ENABLE_ALL : ORT_DISABLE_ALL)) != NULL) {
        return native;
    }
    if (!prepack &&
        (native = api->AddSessionConfigEntry(options, "session.disable_prepacking", "1")) != NULL) {
        return native;
    }
    if (threads > 1 && (native = aegis_ort_own_threads(session->ort, options, context)) != NULL) {
        return native;
    }
    return add_weights(session, compiled, weights, options);
}

/* From a file, because external initialisers are looked for beside it; a graph to be optimised at
 * load comes from memory, because its external data lies beside the original. */
static OrtStatus *create(aegis_ort_session *session,
                         const aegis_ort_compiled *compiled,
                         OrtSessionOptions *options,
                         aegis_error *err,
                         aegis_status *ret_status)
{
    const OrtApi *api = session->ort->api;
    if (!compiled->at_load) {
        return api->CreateSession(session->ort->env, compiled->graph_path, options,
                                  &session->session);
    }
    char *bytes = NULL;
    size_t size = 0;
    OrtStatus *native = api->AddSessionConfigEntry(
        options, "session.model_external_initializers_file_folder_path", compiled->model_folder);
    if (native == NULL) {
        *ret_status = aegis_file_read(compiled->graph_path, UINT64_C(1) << 31, &session->allocator,
                                      &bytes, &size, err);
    }
    if (native == NULL && *ret_status == AEGIS_OK) {
        native =
            api->CreateSessionFromArray(session->ort->env, bytes, size, options, &session->session);
    }
    aegis_file_free(&session->allocator, bytes, size);
    return native;
}

aegis_status aegis_ort_session_create(const aegis_ort *ort,
                                      const aegis_ort_compiled *compiled,
                                      unsigned threads,
                                      bool prepack,
                                      void *weights,
                                      aegis_ort_context *context,
                                      const aegis_allocator *allocator,
                                      aegis_ort_session *ret_session,
                                      aegis_error *err)
{
    aegis_ort_session session = {.ort = ort, .allocator = *allocator};
    aegis_status status = AEGIS_OK;
    OrtSessionOptions *options = NULL;
    session.weights =
        aegis_allocate_zeroed(allocator, compiled->weight_count + 1, sizeof(OrtValue *));
    session.weight_count = session.weights == NULL ? 0 : compiled->weight_count;
    if (session.weights == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for a session");
    }
    OrtStatus *native = configure(&session, compiled, threads, prepack, weights, context, &options);
    if (native == NULL) {
        native = create(&session, compiled, options, err, &status);
    }
    if (options != NULL) {
        ort->api->ReleaseSessionOptions(options);
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
                             const aegis_tensor_info *info,
                             void *data,
                             OrtValue **ret_value)
{
    return session->ort->api->CreateTensorWithDataAsOrtValue(
        session->ort->memory, data, info->size_bytes, info->shape, (size_t)info->rank,
        aegis_ort_element(info->element), ret_value);
}

aegis_status
aegis_ort_session_bind(aegis_ort_session *session, const aegis_surface *surface, aegis_error *err)
{
    size_t inputs = surface->input_count, outputs = surface->output_count, each = inputs + outputs;
    size_t count = 2 * (size_t)surface->slots * each;
    OrtValue **values = aegis_allocate_zeroed(&session->allocator, count + 1, sizeof(OrtValue *));
    if (values == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to bind");
    }
    OrtStatus *native = NULL;
    for (size_t i = 0; i < count && native == NULL; i++) {
        uint32_t slot = (uint32_t)(i / each / 2), parity = (uint32_t)(i / each % 2);
        size_t which = i % each;
        native =
            which < inputs
                ? make_value(session, &surface->inputs[which],
                             aegis_surface_input_pointer(surface, which, slot, parity), &values[i])
                : make_value(session, &surface->outputs[which - inputs],
                             aegis_surface_output_pointer(surface, which - inputs, slot, parity),
                             &values[i]);
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
