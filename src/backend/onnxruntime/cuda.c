/* SPDX-License-Identifier: Apache-2.0 */
/* A model's memory on a CUDA device, and sessions on the CUDA provider. */
#include "backend/onnxruntime/cuda.h"

#include "backend/onnxruntime/model.h"

#include <aegisrt/ext/cuda.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COMPONENT "backend.onnxruntime.cuda"
#define ALIGNMENT 256u

/* ---- on the stream's thread ---- */

typedef struct stream_step {
    aegis_status (*step)(void *argument, aegis_error *err);
    void *argument;
    aegis_status status;
    aegis_error error;
} stream_step;

static void take_step(void *argument)
{
    stream_step *self = argument;
    self->status = self->step(self->argument, &self->error);
}

aegis_status aegis_ort_cuda_on_stream(aegis_stream *stream,
                                      aegis_status (*step)(void *argument, aegis_error *err),
                                      void *argument,
                                      aegis_error *err)
{
    stream_step self = {.step = step, .argument = argument};
    aegis_status status = aegis_stream_call(stream, take_step, &self, err);
    if (status == AEGIS_OK) {
        status = aegis_stream_synchronize(stream, err);
    }
    if (self.status != AEGIS_OK && err != NULL) {
        *err = self.error;
    }
    return self.status != AEGIS_OK ? self.status : status;
}

/* ---- opening and closing ---- */

static aegis_status
fill_cuda(aegis_ort_cuda *cuda, const aegis_model_config *config, aegis_error *err)
{
    const aegis_allocator *allocator = &cuda->allocator;
    if (config->stream == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "a model on a CUDA device is bound to the stream that runs it when "
                               "it is loaded: give aegis_model_config.stream");
    }
    cuda->stream = config->stream;
    cuda->eager = config->eager;
    cuda->early_copies = config->early_copies;
    cuda->in_pieces = config->copies_in_pieces || config->early_copies;
    cuda->allow_cpu_nodes = config->allow_cpu_nodes;
    cuda->has_state = config->state_count > 0;
    aegis_status status = aegis_cuda_stream_handle(cuda->stream, &cuda->handle, err);
    if (status != AEGIS_OK) {
        return status;
    }
    cuda->device = aegis_stream_device(cuda->stream);
    aegis_ort_heap_init(&cuda->heap, AEGIS_ORT_HEAP_DEVICE, cuda->device, allocator);
    aegis_ort_heap_init(&cuda->pinned, AEGIS_ORT_HEAP_PINNED, cuda->device, allocator);
    aegis_ort_heap_init(&cuda->host, AEGIS_ORT_HEAP_HOST, cuda->device, allocator);
    return aegis_event_create(cuda->device, &cuda->event, err);
}

aegis_status
aegis_ort_cuda_open(aegis_ort_model *model, const aegis_model_config *config, aegis_error *err)
{
    aegis_ort_cuda *cuda = aegis_allocate_zeroed(&model->allocator, 1, sizeof *cuda);
    if (cuda == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for a model");
    }
    cuda->allocator = model->allocator;
    model->cuda = cuda;
    return fill_cuda(cuda, config, err);
}

void aegis_ort_cuda_close(aegis_ort_model *model)
{
    aegis_ort_cuda *cuda = model->cuda;
    if (cuda == NULL) {
        return;
    }
    aegis_ort_cuda_drop_graphs(model);
    aegis_ort_heap_finish(&cuda->heap);
    aegis_ort_heap_finish(&cuda->pinned);
    aegis_ort_heap_finish(&cuda->host);
    aegis_event_destroy(cuda->event);
    aegis_deallocate(&cuda->allocator, cuda->mirror.buffers, cuda->mirror.buffer_count + 1,
                     sizeof *cuda->mirror.buffers);
    aegis_allocator allocator = cuda->allocator;
    aegis_deallocate(&allocator, cuda, 1, sizeof *cuda);
    model->cuda = NULL;
}

static void *more_memory(void *self, uint64_t size_bytes)
{
    return aegis_ort_heap_alloc(self, size_bytes, 0, NULL);
}

static void less_memory(void *self, void *pointer)
{
    (void)aegis_ort_heap_free(self, pointer);
}

void aegis_ort_cuda_own(const aegis_ort_model *model, aegis_ort_context *context)
{
    aegis_ort_cuda *cuda = model->cuda;
    context->heap = &cuda->heap;
    context->host = &cuda->host;
    context->pinned = &cuda->pinned;
    context->player.reserve = &model->backend->no_reserve;
    context->player.more = more_memory;
    context->player.less = less_memory;
    context->player.more_self = &cuda->heap;
}

/* ---- inputs, outputs, state ---- */

static uint64_t surface_bytes(const aegis_surface *surface)
{
    uint64_t total = 0;
    for (size_t i = 0; i < surface->buffer_count; i++) {
        total += aegis_align_up(surface->buffers[i].size_bytes, ALIGNMENT);
    }
    return total;
}

/* Where each buffer is when they follow each other from `base` on. */
static void spread(const aegis_surface *surface, unsigned char *base, void **ret_pointers)
{
    for (size_t i = 0; i < surface->buffer_count; i++) {
        ret_pointers[i] = base;
        base += aegis_align_up(surface->buffers[i].size_bytes, ALIGNMENT);
    }
}

static aegis_status upload(aegis_ort_model *model, aegis_error *err)
{
    const aegis_ort_cuda *cuda = model->cuda;
    aegis_status status = AEGIS_OK;
    for (size_t i = 0; i < model->surface.buffer_count && status == AEGIS_OK; i++) {
        const aegis_surface_buffer *buffer = &model->surface.buffers[i];
        status = aegis_device_copy(cuda->device, cuda->mirror.buffers[i].pointer, buffer->pointer,
                                   buffer->size_bytes, err);
    }
    return status;
}

aegis_status aegis_ort_cuda_reset(aegis_ort_model *model, aegis_error *err)
{
    aegis_status status = aegis_surface_reset(&model->surface, err);
    return status == AEGIS_OK ? upload(model, err) : status;
}

static aegis_status make_mirror(aegis_ort_model *model, aegis_error *err)
{
    aegis_surface *mirror = &model->cuda->mirror;
    size_t count = model->surface.buffer_count;
    *mirror = model->surface;
    mirror->trial = NULL;
    mirror->buffers = aegis_allocate_zeroed(&model->allocator, count + 1, sizeof *mirror->buffers);
    if (mirror->buffers == NULL) {
        mirror->buffer_count = 0;
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for the surface of a model");
    }
    memcpy(mirror->buffers, model->surface.buffers, count * sizeof *mirror->buffers);
    return AEGIS_OK;
}

static aegis_status
take_surface(aegis_ort_model *model, void **pointers, uint64_t bytes, aegis_error *err)
{
    aegis_ort_cuda *cuda = model->cuda;
    void *pinned = aegis_ort_heap_alloc(&cuda->pinned, bytes, 0, NULL);
    void *device = pinned == NULL ? NULL : aegis_ort_heap_alloc(&cuda->heap, bytes, 0, NULL);
    if (device == NULL) {
        const aegis_error *why = pinned == NULL ? &cuda->pinned.failure : &cuda->heap.failure;
        if (err != NULL) {
            *err = *why;
        }
        return why->status;
    }
    spread(&model->surface, device, pointers);
    for (size_t i = 0; i < model->surface.buffer_count; i++) {
        cuda->mirror.buffers[i].pointer = pointers[i];
    }
    spread(&model->surface, pinned, pointers);
    return aegis_surface_place(&model->surface, pointers, err);
}

aegis_status aegis_ort_cuda_open_surface(aegis_ort_model *model, aegis_error *err)
{
    size_t count = model->surface.buffer_count + 1;
    void **pointers = aegis_allocate_zeroed(&model->allocator, count, sizeof *pointers);
    if (pointers == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for the surface of a model");
    }
    aegis_status status = make_mirror(model, err);
    if (status == AEGIS_OK) {
        status = take_surface(model, pointers, surface_bytes(&model->surface), err);
    }
    aegis_deallocate(&model->allocator, pointers, count, sizeof *pointers);
    return status == AEGIS_OK ? upload(model, err) : status;
}

aegis_status
aegis_ort_cuda_place_surface(aegis_ort_model *model, void *const *pointers, aegis_error *err)
{
    aegis_ort_cuda *cuda = model->cuda;
    if (model->surface.buffer_count > 0) { /* the block under them in trial mode */
        (void)aegis_ort_heap_free(&cuda->heap, cuda->mirror.buffers[0].pointer);
    }
    for (size_t i = 0; i < model->surface.buffer_count; i++) {
        cuda->mirror.buffers[i].pointer = pointers[i];
    }
    return aegis_ort_cuda_reset(model, err);
}

/* ---- sessions ---- */

static OrtStatus *append_provider(const aegis_ort *ort,
                                  const aegis_ort_cuda *cuda,
                                  OrtCUDAProviderOptionsV2 *provider,
                                  OrtSessionOptions *options)
{
    char index[16];
    snprintf(index, sizeof index, "%d", aegis_device_get_capabilities(cuda->device)->index);
    /* Searching by trial runs would choose other kernels in every session, with other workspaces;
     * without a limit workspaces take what they can get. */
    const char *keys[] = {"device_id", "cudnn_conv_algo_search", "cudnn_conv_use_max_workspace",
                          "do_copy_in_default_stream"};
    const char *values[] = {index, "HEURISTIC", "0", "1"};
    OrtStatus *native =
        ort->api->UpdateCUDAProviderOptions(provider, keys, values, AEGIS_ARRAY_LENGTH(keys));
    if (native == NULL) {
        native = ort->api->UpdateCUDAProviderOptionsWithValue(provider, "user_compute_stream",
                                                              cuda->handle);
    }
    return native != NULL
               ? native
               : ort->api->SessionOptionsAppendExecutionProvider_CUDA_V2(options, provider);
}

OrtStatus *aegis_ort_cuda_configure(const aegis_ort *ort,
                                    const aegis_ort_cuda *cuda,
                                    OrtSessionOptions *options,
                                    bool strict)
{
    OrtCUDAProviderOptionsV2 *provider = NULL;
    OrtStatus *native = ort->api->CreateCUDAProviderOptions(&provider);
    if (native == NULL) {
        native = append_provider(ort, cuda, provider, options);
    }
    if (provider != NULL) {
        ort->api->ReleaseCUDAProviderOptions(provider);
    }
    if (native == NULL && strict) {
        return ort->api->AddSessionConfigEntry(options, "session.disable_cpu_ep_fallback", "1");
    }
    /* The log lists which nodes are where. */
    return native != NULL || strict
               ? native
               : ort->api->SetSessionLogSeverityLevel(options, ORT_LOGGING_LEVEL_VERBOSE);
}

bool aegis_ort_cuda_is_refusal(const aegis_ort *ort, const OrtStatus *native)
{
    return strstr(ort->api->GetErrorMessage(native), "fallback to CPU EP") != NULL;
}

/* "Node(s) placed on [CPUExecutionProvider]. Number of nodes: 2", then a line for each. */
static void read_placement(void *self, const char *message)
{
    aegis_ort_cpu_nodes *nodes = self;
    size_t used = strlen(nodes->names), skip = strspn(message, " ");
    if (strstr(message, "placed on [") != NULL) {
        nodes->listing = strstr(message, "[CPUExecutionProvider]") != NULL;
    } else if (nodes->listing && skip > 0 && strchr(message, '(') != NULL) {
        nodes->count++;
        snprintf(nodes->names + used, sizeof nodes->names - used, "%s%s", used > 0 ? ", " : "",
                 message + skip);
    } else {
        nodes->listing = false;
    }
}

void aegis_ort_cpu_nodes_listen(aegis_ort_cpu_nodes *nodes)
{
    *nodes = (aegis_ort_cpu_nodes){.taker = {.line = read_placement, .self = nodes}};
    aegis_ort_listen(&nodes->taker);
}

void aegis_ort_cpu_nodes_end(void)
{
    aegis_ort_listen(NULL);
}
