/* SPDX-License-Identifier: Apache-2.0 */
/* Runs on a CUDA device: enqueued, or captured once and launched. */
#include "backend/onnxruntime/cuda.h"

#include "backend/onnxruntime/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define COMPONENT "backend.onnxruntime.cuda"
/* Of the norm of an output: what a launched graph may differ from the run that it was captured
 * from, whose kernels add in no fixed order here and there. */
#define SAME 1e-3

/* ---- enqueueing ---- */

typedef struct aegis_ort_copy {
    void *to;
    const void *from;
    uint64_t size_bytes;
} aegis_ort_copy;

static aegis_status
copy(const aegis_ort_cuda *cuda, aegis_stream *stream, const aegis_ort_copy *what, aegis_error *err)
{
    const uint64_t most = cuda->in_pieces ? AEGIS_COPY_PIECE_BYTES : UINT64_MAX;
    aegis_status status = AEGIS_OK;
    for (uint64_t at = 0; at < what->size_bytes && status == AEGIS_OK;) {
        const uint64_t left = what->size_bytes - at, piece = left < most ? left : most;
        status = aegis_stream_enqueue_copy(stream, (char *)what->to + at,
                                           (const char *)what->from + at, piece, err);
        at += piece;
    }
    return status;
}

aegis_status aegis_ort_cuda_copy_in(const aegis_ort_model *model,
                                    uint32_t slot,
                                    aegis_stream *stream,
                                    aegis_error *err)
{
    const aegis_surface *host = &model->surface, *device = &model->cuda->mirror;
    aegis_status status = AEGIS_OK;
    for (size_t i = 0; i < host->input_count && status == AEGIS_OK; i++) {
        if (host->input_partner[i] < 0) { /* state stays on the device; others have no halves */
            const aegis_ort_copy what = {.to = aegis_surface_input_pointer(device, i, slot, 0),
                                         .from = aegis_surface_input_pointer(host, i, slot, 0),
                                         .size_bytes = host->inputs[i].size_bytes};
            status = copy(model->cuda, stream, &what, err);
        }
    }
    return status;
}

static aegis_status copy_out(const aegis_ort_model *model, uint32_t slot, aegis_error *err)
{
    const aegis_surface *host = &model->surface, *device = &model->cuda->mirror;
    aegis_status status = AEGIS_OK;
    for (size_t i = 0; i < host->output_count && status == AEGIS_OK; i++) {
        const aegis_ort_copy what = {
            .to = aegis_surface_output_pointer(host, i, slot, host->parity),
            .from = aegis_surface_output_pointer(device, i, slot, host->parity),
            .size_bytes = host->outputs[i].size_bytes};
        status = copy(model->cuda, model->cuda->stream, &what, err);
    }
    return status;
}

static aegis_status
enqueue(aegis_ort_model *model, uint32_t segment, uint32_t slot, aegis_error *err)
{
    aegis_status status = segment == 0 && !model->cuda->early_copies
                              ? aegis_ort_cuda_copy_in(model, slot, model->cuda->stream, err)
                              : AEGIS_OK;
    if (status == AEGIS_OK) {
        status = aegis_ort_segment_run(model, segment, slot, err);
    }
    return status == AEGIS_OK && segment + 1 == model->segment_count ? copy_out(model, slot, err)
                                                                     : status;
}

/* ---- graphs ---- */

static uint32_t parities(const aegis_ort_cuda *cuda)
{
    return cuda->has_state ? 2 : 1;
}

static aegis_cuda_graph **graph_at(const aegis_ort_model *model, uint32_t segment, uint32_t slot)
{
    const aegis_ort_cuda *cuda = model->cuda;
    uint32_t parity = cuda->has_state ? model->surface.parity : 0;
    return &cuda->graphs[((size_t)segment * cuda->graph_slots + slot) * parities(cuda) + parity];
}

static bool has_graph(const aegis_ort_model *model, uint32_t slot)
{
    return model->cuda->captured && slot < model->cuda->graph_slots;
}

aegis_status aegis_ort_cuda_launch_ahead(const aegis_ort_model *model,
                                         uint32_t segment,
                                         uint32_t slot,
                                         aegis_error *err)
{
    if (!has_graph(model, slot)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "only captured segments can be put ahead");
    }
    return aegis_cuda_graph_launch(*graph_at(model, segment, slot), err);
}

aegis_status
aegis_ort_cuda_run(aegis_ort_model *model, uint32_t segment, uint32_t slot, aegis_error *err)
{
    return has_graph(model, slot) ? aegis_cuda_graph_launch(*graph_at(model, segment, slot), err)
                                  : enqueue(model, segment, slot, err);
}

void aegis_ort_cuda_drop_graphs(aegis_ort_model *model)
{
    aegis_ort_cuda *cuda = model->cuda;
    for (size_t i = 0; i < cuda->graph_count; i++) {
        aegis_cuda_graph_destroy(cuda->graphs[i]);
    }
    aegis_deallocate(&cuda->allocator, cuda->graphs, cuda->graph_count, sizeof(aegis_cuda_graph *));
    cuda->graphs = NULL;
    cuda->graph_count = 0;
    cuda->graph_slots = 0;
    cuda->captured = false;
    aegis_ort_heap_unhold(&cuda->pinned);
    aegis_ort_heap_unhold(&cuda->host);
}

static aegis_status make_graphs(aegis_ort_model *model, uint32_t slots, aegis_error *err)
{
    aegis_ort_cuda *cuda = model->cuda;
    size_t count = model->segment_count * slots * parities(cuda);
    cuda->graphs = aegis_allocate_zeroed(&cuda->allocator, count, sizeof(aegis_cuda_graph *));
    if (cuda->graphs == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for %zu graphs", count);
    }
    cuda->graph_count = count;
    cuda->graph_slots = slots;
    return AEGIS_OK;
}

/* What the runtime puts into host memory for the device to read later stays as it is: `hold`. */
static aegis_status
capture_one(aegis_ort_model *model, uint32_t segment, uint32_t slot, aegis_error *err)
{
    aegis_ort_cuda *cuda = model->cuda;
    aegis_cuda_graph_info info = {0};
    aegis_error unused;
    aegis_status status = aegis_cuda_capture_begin(cuda->stream, err);
    if (status != AEGIS_OK) {
        return status;
    }
    cuda->pinned.hold = cuda->host.hold = true;
    status = enqueue(model, segment, slot, err);
    cuda->pinned.hold = cuda->host.hold = false;
    aegis_status ended =
        aegis_cuda_capture_end(cuda->stream, &cuda->allocator, graph_at(model, segment, slot),
                               &info, status == AEGIS_OK ? err : &unused);
    if (slot == 0 && (!cuda->has_state || model->surface.parity == 0)) {
        cuda->info.nodes += info.nodes;
        cuda->info.kernels += info.kernels;
        cuda->info.copies += info.copies;
        cuda->info.memsets += info.memsets;
        cuda->info.host_calls += info.host_calls;
        cuda->info.allocations += info.allocations;
    }
    return status != AEGIS_OK ? status : ended;
}

static aegis_status capture_all(aegis_ort_model *model, uint32_t slots, aegis_error *err)
{
    uint32_t before = model->surface.parity;
    aegis_status status = make_graphs(model, slots, err);
    model->cuda->info = (aegis_cuda_graph_info){0};
    for (uint32_t parity = 0; parity < parities(model->cuda) && status == AEGIS_OK; parity++) {
        model->surface.parity = model->cuda->has_state ? parity : before;
        for (uint32_t slot = 0; slot < slots && status == AEGIS_OK; slot++) {
            for (uint32_t i = 0; i < model->segment_count && status == AEGIS_OK; i++) {
                status = capture_one(model, i, slot, err);
            }
        }
    }
    model->surface.parity = before;
    return status;
}

/* ---- both ways ---- */

aegis_status aegis_ort_cuda_run_job(aegis_ort_model *model, aegis_error *err)
{
    aegis_ort_cuda *cuda = model->cuda;
    aegis_status status = AEGIS_OK;
    for (uint32_t i = 0; i < model->segment_count && status == AEGIS_OK; i++) {
        status = aegis_ort_cuda_run(model, i, 0, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_stream_enqueue_record(cuda->stream, cuda->event, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_event_synchronize(cuda->event, err);
    }
    return status == AEGIS_OK ? aegis_stream_take_failure(cuda->stream, err) : status;
}

static uint64_t output_bytes(const aegis_surface *surface)
{
    uint64_t total = 0;
    for (size_t i = 0; i < surface->output_count; i++) {
        total += surface->outputs[i].size_bytes;
    }
    return total;
}

/* Outputs of slot 0 one behind the other; where they were, bytes that no run writes. */
static void move_outputs(const aegis_surface *surface, unsigned char *to)
{
    for (size_t i = 0; i < surface->output_count; i++) {
        void *from = aegis_surface_output_pointer(surface, i, 0, surface->parity);
        memcpy(to, from, surface->outputs[i].size_bytes);
        memset(from, 0xff, surface->outputs[i].size_bytes);
        to += surface->outputs[i].size_bytes;
    }
}

/* `expected` need not be aligned. False for NaN. */
static bool
alike(const aegis_tensor_info *info, const unsigned char *found, const unsigned char *expected)
{
    double difference = 0, norm = 0;
    float a, b;
    if (memcmp(found, expected, info->size_bytes) == 0) {
        return true;
    }
    if (info->element != AEGIS_ELEMENT_F32) {
        return false;
    }
    for (uint64_t at = 0; at < info->size_bytes; at += sizeof a) {
        memcpy(&a, found + at, sizeof a);
        memcpy(&b, expected + at, sizeof b);
        difference += ((double)a - b) * ((double)a - b);
        norm += (double)b * b;
    }
    return sqrt(difference) <= SAME * sqrt(norm);
}

/* Name of the first output of slot 0 that is not as expected, or NULL. */
static const char *first_difference(const aegis_surface *surface, const unsigned char *expected)
{
    for (size_t i = 0; i < surface->output_count; i++) {
        const aegis_tensor_info *info = &surface->outputs[i];
        if (!alike(info, aegis_surface_output_pointer(surface, i, 0, surface->parity), expected)) {
            return info->name;
        }
        expected += info->size_bytes;
    }
    return NULL;
}

static void add_note(aegis_ort_cuda *cuda, const char *what, const char *why)
{
    size_t used = strlen(cuda->note);
    snprintf(cuda->note + used, sizeof cuda->note - used, "%s%s%s", used > 0 ? "; " : "", what,
             why);
}

/* The graphs are there and give what `saved` holds; else they are dropped and the note says why. */
static aegis_status
capture_and_compare(aegis_ort_model *model, uint32_t slots, unsigned char *saved, aegis_error *err)
{
    aegis_ort_cuda *cuda = model->cuda;
    const char *differs = NULL;
    aegis_error why;
    aegis_status status = capture_all(model, slots, &why);
    if (status == AEGIS_OK) {
        cuda->captured = true;
        status = aegis_ort_cuda_run_job(model, &why);
    }
    if (status == AEGIS_OK) {
        differs = first_difference(&model->surface, saved);
    }
    if (status == AEGIS_OK && differs == NULL) {
        return AEGIS_OK;
    }
    aegis_ort_cuda_drop_graphs(model);
    if (status != AEGIS_OK && why.category == AEGIS_CATEGORY_FATAL) {
        if (err != NULL) {
            *err = why;
        }
        return status;
    }
    if (status != AEGIS_OK) {
        /* The runtime has a copy of CUDA's library of its own, which tells the failure of the
         * capture once more to the next kernel that is launched. */
        aegis_error told;
        (void)aegis_ort_cuda_run_job(model, &told);
    }
    add_note(cuda,
             differs != NULL ? "not captured: its graph gives another output " : "not captured: ",
             differs != NULL ? differs : why.message);
    return AEGIS_OK;
}

static aegis_status try_capture(aegis_ort_model *model, uint32_t slots, aegis_error *err)
{
    uint64_t bytes = output_bytes(&model->surface) + 1;
    unsigned char *saved = aegis_allocate_zeroed(&model->allocator, bytes, 1);
    if (saved == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to compare outputs");
    }
    aegis_status status =
        aegis_ort_cuda_run_job(model, err); /* lets the runtime's libraries settle */
    if (status == AEGIS_OK) {
        status = aegis_ort_cuda_run_job(model, err);
    }
    if (status == AEGIS_OK) {
        move_outputs(&model->surface, saved);
        status = capture_and_compare(model, slots, saved, err);
    }
    aegis_deallocate(&model->allocator, saved, bytes, 1);
    return status;
}

/* Runs that stage arguments in pinned memory give it back only when they wait for the device. */
static aegis_status wait_in_runs(aegis_ort_model *model, aegis_error *err)
{
    aegis_ort_cuda *cuda = model->cuda;
    uint64_t before = cuda->pinned.requests;
    aegis_status status = aegis_ort_cuda_run_job(model, err);
    if (status != AEGIS_OK || cuda->pinned.requests == before) {
        return status;
    }
    OrtStatus *native =
        aegis_ort_gate_set(&model->gate, "disable_synchronize_execution_providers", "0");
    if (native != NULL) {
        return aegis_ort_error(model->backend->ort, native, AEGIS_HERE(COMPONENT),
                               AEGIS_ERROR_INTERNAL, "run options refused", err);
    }
    return aegis_ort_cuda_run_job(model, err);
}

aegis_status aegis_ort_cuda_capture(aegis_ort_model *model, uint32_t slots, aegis_error *err)
{
    aegis_ort_cuda *cuda = model->cuda;
    aegis_status status = AEGIS_OK;
    aegis_ort_cuda_drop_graphs(model);
    if (slots > 0) {
        snprintf(cuda->note, sizeof cuda->note, "%s", cuda->cpu_nodes);
    }
    if (slots > 0 && cuda->eager) {
        add_note(cuda, "not captured: graphs are switched off", "");
    } else if (slots > 0) {
        status = try_capture(model, slots, err);
    }
    if (status == AEGIS_OK && !cuda->captured) {
        status = wait_in_runs(model, err);
    }
    model->reached = 0;
    model->surface.written = model->surface.parity;
    return status;
}
