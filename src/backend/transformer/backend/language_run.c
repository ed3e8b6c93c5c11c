/* SPDX-License-Identifier: Apache-2.0 */
/* Executing a segment of a step, and what a job leaves. */
#include "backend/transformer/backend/language_model.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define COMPONENT AEGIS_LANGUAGE
#define AWAIT_STEP_NS 50000

typedef struct cursor {
    int64_t position, token;
} cursor;

static bool stopped(language_model *model)
{
    return atomic_load(&model->stop) == atomic_load(&model->generation);
}

void aegis_language_terminate(void *self)
{
    language_model *model = self;
    const uint64_t generation = atomic_load(&model->generation);
    if ((generation & 1u) != 0) {
        atomic_store(&model->stop, generation);
    }
}

static cursor current(const language_model *model)
{
    cursor at;
    memcpy(&at,
           aegis_surface_input_pointer(&model->base.surface, LANGUAGE_CURSOR, 0,
                                       model->base.surface.parity),
           sizeof at);
    return at;
}

static int64_t prompt_token(const language_model *model, uint32_t slot, int64_t position)
{
    const int64_t *tokens =
        aegis_surface_input_pointer(&model->base.surface, LANGUAGE_TOKENS, slot, 0);
    return tokens[position];
}

static aegis_status begin(language_model *model, uint32_t slot, aegis_error *err)
{
    cursor at = current(model);
    if (aegis_language_is_measured(&model->base)) {
        at = (cursor){.position = (int64_t)model->facts->context - 1};
    }
    if (at.position < 0 || at.token < 0) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INFERENCE,
                               "its cursor is at position %" PRId64 " with token %" PRId64
                               "; reset the model",
                               at.position, at.token);
    }
    model->behind_end = at.position >= (int64_t)model->facts->context;
    if (model->behind_end) {
        return AEGIS_OK;
    }
    model->position = (uint32_t)at.position;
    const int64_t token = at.position < (int64_t)model->base.prompt
                              ? prompt_token(model, slot, at.position)
                              : at.token;
    if (token < 0 || token >= (int64_t)model->facts->vocabulary) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INFERENCE,
                               "token %" PRId64 " at position %u; the vocabulary has 0 to %u",
                               token, model->position, model->facts->vocabulary - 1);
    }
    return aegis_runner_begin(model->runner, (uint32_t)token, model->position, err);
}

/* Pieces up to the segment's end, one at a time. */
static aegis_status run_pieces(language_model *model, uint32_t segment, aegis_error *err)
{
    const uint32_t end = model->segments[segment].end;
    uint32_t piece = segment > 0 ? model->segments[segment - 1].end : 0;
    aegis_status status = AEGIS_OK;
    while (piece < end && status == AEGIS_OK && !stopped(model)) {
        status = aegis_runner_run(model->runner, ++piece, err);
    }
    if (status == AEGIS_OK && stopped(model)) {
        status =
            aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_TERMINATED,
                            "segment %" PRIu32 " was ended before piece %" PRIu32 " of %" PRIu32,
                            segment, piece, end);
    }
    return status;
}

/* The token behind the position, and where the next job begins. */
static void finish(language_model *model, uint32_t slot)
{
    const aegis_surface *surface = &model->base.surface;
    const int64_t behind = (int64_t)model->position + 1;
    const bool given = behind < (int64_t)model->base.prompt;
    int64_t token = -1;
    cursor next = current(model);
    if (!model->behind_end) {
        const uint32_t chosen = aegis_runner_choose(model->runner);
        token = given ? prompt_token(model, slot, behind) : (int64_t)chosen;
        next = (cursor){.position = behind, .token = token};
        const bool ends = behind == (int64_t)model->facts->context ||
                          (!given && aegis_runner_is_end(model->runner, chosen));
        if (ends && model->base.stop_at_end) {
            next.position = (int64_t)model->facts->context;
        } else if (ends) {
            next = (cursor){0};
        }
    }
    memcpy(aegis_surface_output_pointer(surface, LANGUAGE_TOKEN, slot, 0), &token, sizeof token);
    if (!aegis_language_is_measured(
            &model->base)) { /* jobs that are measured belong to no sequence */
        memcpy(aegis_surface_output_pointer(surface, LANGUAGE_NEXT_CURSOR, slot, surface->parity),
               &next, sizeof next);
        model->base.surface.written = model->base.surface.parity ^ 1u;
    }
}

/* To the segment's start: of a new job, of this segment for the first time, or of it again. */
static aegis_status start(language_model *model, uint32_t segment, uint32_t slot, aegis_error *err)
{
    if (segment == 0) {
        model->base.next = 0;
        model->saved = 0;
        return begin(model, slot, err);
    }
    if (model->behind_end) {
        return AEGIS_OK;
    }
    if (segment == model->saved) {
        aegis_runner_restore(model->runner);
    } else {
        aegis_runner_save(model->runner);
        model->saved = segment;
    }
    return AEGIS_OK;
}

bool aegis_language_is_ready(void *self, uint32_t segment)
{
    const language_model *model = self;
    return segment >= model->base.segment_count ||
           aegis_runner_has(model->runner, model->segments[segment].first_group,
                            model->segments[segment].end_group);
}

uint64_t aegis_language_awaited_segments(void *self)
{
    const language_model *model = self;
    uint64_t awaited = 0;
    for (uint32_t s = 0; s < model->base.segment_count; s++) {
        const language_segment *one = &model->segments[s];
        awaited |= one->end_group > one->first_group ? UINT64_C(1) << s : 0;
    }
    return awaited;
}

void aegis_language_watch(void *self, aegis_model_wake wake, void *watcher)
{
    aegis_runner_watch(((language_model *)self)->runner, wake, watcher);
}

/* Not on the dispatch path, which asks first. */
static void await_bytes(language_model *model, uint32_t segment)
{
    while (!aegis_language_is_ready(model, segment)) {
        nanosleep(&(struct timespec){.tv_nsec = AWAIT_STEP_NS}, NULL);
    }
}

aegis_status aegis_language_execute(
    void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    language_model *model = self;
    (void)stream;
    aegis_status status = aegis_language_check_segment(&model->base, segment, slot, err);
    if (status != AEGIS_OK) {
        return status;
    }
    await_bytes(model, segment);
    aegis_runner_bind(model->runner, model->crossing, model->segments[segment].working,
                      aegis_surface_output_pointer(&model->base.surface, LANGUAGE_LOGITS, slot, 0));
    status = start(model, segment, slot, err);
    if (status != AEGIS_OK) {
        return status;
    }
    atomic_fetch_add(&model->generation, 1); /* now odd: it can be stopped */
    if (!model->behind_end) {
        status = run_pieces(model, segment, err);
    }
    atomic_fetch_add(&model->generation, 1);
    if (status == AEGIS_OK) {
        model->base.next = segment + 1;
        if (model->base.next == model->base.segment_count) {
            finish(model, slot);
        }
    }
    return status;
}
