/* SPDX-License-Identifier: Apache-2.0 */
/* Moving into the arena: a second session over planned bytes, then the end of the first. */
#include "backend/onnxruntime/model.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define COMPONENT "backend.onnxruntime"

typedef struct addresses {
    unsigned char *weights;
    aegis_ort_place *kept;
    void **activations, **buffers;
    size_t kept_count, activation_count, buffer_count;
} addresses;

static void finish_addresses(const aegis_allocator *allocator, addresses *planned)
{
    aegis_deallocate(allocator, planned->kept, planned->kept_count, sizeof *planned->kept);
    aegis_deallocate(allocator, planned->activations, planned->activation_count, sizeof(void *));
    aegis_deallocate(allocator, planned->buffers, planned->buffer_count, sizeof(void *));
    memset(planned, 0, sizeof *planned);
}

static aegis_status resolve(const aegis_ort_model *model,
                            const aegis_model_placement *placement,
                            addresses *ret_planned,
                            aegis_error *err)
{
    const aegis_allocator *allocator = &model->allocator;
    addresses planned = {.kept_count = model->loading.allocation_count + 1,
                         .activation_count = model->run.allocation_count + 1,
                         .buffer_count = model->surface.buffer_count + 1};
    planned.kept = aegis_allocate_zeroed(allocator, planned.kept_count, sizeof *planned.kept);
    planned.activations =
        aegis_allocate_zeroed(allocator, planned.activation_count, sizeof(void *));
    planned.buffers = aegis_allocate_zeroed(allocator, planned.buffer_count, sizeof(void *));
    if (planned.kept == NULL || planned.activations == NULL || planned.buffers == NULL) {
        finish_addresses(allocator, &planned);
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to place");
    }
    size_t next = 0;
    for (size_t i = 0; i < model->lifetime_count; i++) {
        const aegis_tensor_lifetime *one = &model->lifetimes[i];
        unsigned char *at =
            (unsigned char *)placement->base + placement->binding->placements[i].offset_bytes;
        if (one->memory_class == AEGIS_MEMORY_WEIGHTS) {
            planned.weights = at;
        } else if (one->memory_class == AEGIS_MEMORY_PREPACKED) {
            planned.kept[one->tensor] =
                (aegis_ort_place){.address = at, .size_bytes = one->size_bytes};
        } else if (one->memory_class == AEGIS_MEMORY_ACTIVATION) {
            planned.activations[one->tensor] = at;
        } else {
            planned.buffers[next++] = at;
        }
    }
    *ret_planned = planned;
    return AEGIS_OK;
}

/* Reads the weights file to where the plan wants it; the very bytes that will be used are checked.
 */
static aegis_status read_weights(const aegis_ort_model *model, unsigned char *to, aegis_error *err)
{
    const aegis_ort_compiled *compiled = &model->compiled;
    uint64_t done = 0;
    char hash[AEGIS_SHA256_HEX_BYTES];
    if (compiled->weights_bytes == 0) {
        return AEGIS_OK;
    }
    int fd = open(compiled->weights_path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : 1;
    while (got > 0 && done < compiled->weights_bytes) {
        got = pread(fd, to + done, compiled->weights_bytes - done, (off_t)done);
        if (got < 0 && errno == EINTR) {
            got = 1;
            continue;
        }
        done += got > 0 ? (uint64_t)got : 0;
    }
    int code = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (done != compiled->weights_bytes) {
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE,
                                      code, "cannot read %s: %" PRIu64 " of %" PRIu64 " bytes",
                                      compiled->weights_path, done, compiled->weights_bytes);
    }
    aegis_status status = aegis_sha256_bytes(to, compiled->weights_bytes, hash, err);
    if (status == AEGIS_OK && strcmp(hash, compiled->weights_hash) != 0) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE,
                               "%s has the hash %s, %s was compiled", compiled->weights_path, hash,
                               compiled->weights_hash);
    }
    return status;
}

/* Creates the session at planned addresses; a departure from the recorded loading ends it. */
static aegis_status load_placed(const aegis_ort_model *model,
                                const aegis_model_placement *placement,
                                const addresses *planned,
                                aegis_ort_context *context,
                                aegis_ort_session *ret_session,
                                aegis_error *err)
{
    context->mode = AEGIS_ORT_LOADING;
    context->places = planned->kept;
    context->place_count = model->kept_count;
    context->departed = false;
    context->player.planned_base = placement->base;
    context->player.planned_bytes = placement->size_bytes;
    context->player.spill_base = placement->spill_base;
    context->player.spill_bytes = placement->spill_bytes;
    aegis_ort_enter(context);
    aegis_status status = aegis_ort_session_create(model->backend->ort, &model->compiled,
                                                   model->threads, model->prepack, planned->weights,
                                                   context, &model->allocator, ret_session, err);
    context->mode = AEGIS_ORT_BLOCKS;
    size_t left = 0;
    for (size_t i = 0; i < context->place_count; i++) {
        left += !context->places[i].used;
    }
    context->places = NULL;
    context->place_count = 0;
    /* A temporary block without a place was given back; one that stays outside the plan is not. */
    bool complete = left == 0 && context->live_bytes == 0 && atomic_load(&context->strays) == 0;
    if (status == AEGIS_OK && !complete) {
        aegis_ort_session_finish(ret_session);
        status =
            aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE,
                            "loading left its recording: %zu of %zu blocks that stay were not "
                            "asked for, %" PRIu64 " bytes stay that have no place (first "
                            "asked: %" PRIu64 " bytes)",
                            left, model->kept_count, context->live_bytes, context->asked_bytes);
    }
    aegis_ort_leave();
    return status;
}

static void end_trial(aegis_ort_model *model, aegis_ort_session *session)
{
    aegis_ort_enter(&model->contexts[0]);
    aegis_ort_session_finish(session);
    aegis_ort_leave();
    if (model->trial_weights != NULL) {
        munmap(model->trial_weights, model->compiled.weights_bytes);
        model->trial_weights = NULL;
    }
}

aegis_status aegis_ort_model_place(aegis_ort_model *model,
                                   const aegis_model_placement *placement,
                                   aegis_error *err)
{
    aegis_ort_context *context = &model->contexts[1];
    addresses planned = {0};
    aegis_ort_session session = {.ort = NULL};
    aegis_status status = resolve(model, placement, &planned, err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = read_weights(model, planned.weights, err);
    if (status == AEGIS_OK) {
        status = load_placed(model, placement, &planned, context, &session, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_surface_place(&model->surface, planned.buffers, err);
        if (status != AEGIS_OK) {
            aegis_ort_enter(context);
            aegis_ort_session_finish(&session);
            aegis_ort_leave();
        }
    }
    if (status != AEGIS_OK) {
        finish_addresses(&model->allocator, &planned);
        return status;
    }
    /* From here on the model lives in the arena; what fails now loses it. */
    aegis_ort_session trial = model->session;
    model->session = session;
    model->context = context;
    model->placed = true;
    end_trial(model, &trial);
    status = aegis_ort_session_bind(&model->session, &model->surface, err);
    model->lost = status != AEGIS_OK;
    aegis_deallocate(&model->allocator, planned.kept, planned.kept_count, sizeof *planned.kept);
    model->addresses = planned.activations;
    model->address_capacity = planned.activation_count;
    aegis_deallocate(&model->allocator, planned.buffers, planned.buffer_count, sizeof(void *));
    context->player.tape = &model->run;
    context->player.addresses = model->addresses;
    context->mode = AEGIS_ORT_PLAYING;
    return status;
}
