/* SPDX-License-Identifier: Apache-2.0 */
/* Where a step can be cut, with measured times. */
#include "backend/transformer/backend/language_model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#define COMPONENT AEGIS_LANGUAGE
#define MEASURED_RUNS 7u

/* The next position at or behind `piece`; pieces when there is none. */
static uint32_t next_cut(const language_model *model, uint32_t piece)
{
    uint32_t tensors;
    uint64_t bytes;
    while (piece < model->facts->pieces &&
           !aegis_runner_can_cut(model->runner, piece, &tensors, &bytes)) {
        piece++;
    }
    return piece;
}

static aegis_status
check_cut(const language_model *model, uint32_t cut, uint32_t before, aegis_error *err)
{
    const uint32_t pieces = model->facts->pieces;
    if (cut <= before || cut >= pieces) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "cuts: position %" PRIu32 " does not lie between %" PRIu32
                               " and the %" PRIu32 " pieces of a step; write rising positions "
                               "within them",
                               cut, before, pieces);
    }
    const uint32_t near = next_cut(model, cut);
    if (near != cut) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "cuts: position %" PRIu32 " lies inside block %" PRIu32
                               "; the next place to cut is %" PRIu32,
                               cut, aegis_runner_block_of(model->runner, cut), near);
    }
    return AEGIS_OK;
}

aegis_status
aegis_language_cut(language_model *model, const uint32_t *cuts, size_t count, aegis_error *err)
{
    const size_t most = model->facts->pieces - 1;
    if (count > most) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "cuts: %zu of them; a step has %" PRIu32 " pieces", count,
                               model->facts->pieces);
    }
    for (size_t i = 0; i < count; i++) {
        aegis_status status = check_cut(model, cuts[i], i > 0 ? cuts[i - 1] : 0, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    model->segments =
        aegis_allocate_zeroed(&model->base.allocator, count + 1, sizeof *model->segments);
    if (model->segments == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for %zu segments", count + 1);
    }
    model->base.segment_count = (uint32_t)count + 1;
    for (size_t i = 0; i <= count; i++) {
        model->segments[i].end = i < count ? cuts[i] : model->facts->pieces;
    }
    return AEGIS_OK;
}

aegis_status aegis_language_segment(language_model *model, aegis_error *err)
{
    const aegis_runner *runner = model->runner;
    uint32_t count = 1, first = 0;
    for (uint32_t piece = 1; piece < model->facts->pieces; piece++) {
        count += aegis_runner_begins_segment(runner, piece);
    }
    model->segments = aegis_allocate_zeroed(&model->base.allocator, count, sizeof *model->segments);
    if (model->segments == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for %" PRIu32 " segments", count);
    }
    for (uint32_t piece = 1; piece <= model->facts->pieces; piece++) {
        if (piece == model->facts->pieces || aegis_runner_begins_segment(runner, piece)) {
            language_segment *one = &model->segments[model->base.segment_count++];
            one->end = piece;
            aegis_runner_groups(runner, first, piece, &one->first_group, &one->end_group);
            first = piece;
        }
    }
    return AEGIS_OK;
}

/* ---- candidates ---- */

static size_t list_candidates(const language_model *model, aegis_cut_candidate *list)
{
    size_t count = 0;
    for (uint32_t piece = 1; piece < model->facts->pieces; piece++) {
        aegis_cut_candidate one = {.position = piece};
        if (aegis_runner_can_cut(model->runner, piece, &one.live_tensors, &one.live_bytes)) {
            list[count++] = one;
        }
    }
    return count;
}

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * AEGIS_NS_PER_S + (uint64_t)now.tv_nsec;
}

/* One step at the last position; `times` has MEASURED_RUNS entries for each candidate. */
static aegis_status
measure(language_model *model, size_t count, size_t run, uint64_t *times, aegis_error *err)
{
    aegis_runner_bind(model->runner, model->crossing, model->segments[0].working,
                      aegis_surface_output_pointer(&model->base.surface, LANGUAGE_LOGITS, 0, 0));
    const uint64_t start = now_ns();
    uint32_t piece = 0;
    aegis_status status = aegis_runner_begin(model->runner, 0, model->facts->context - 1, err);
    for (size_t i = 0; i < count && status == AEGIS_OK; i++) {
        while (piece < model->base.candidates[i].position && status == AEGIS_OK) {
            status = aegis_runner_run(model->runner, ++piece, err);
        }
        times[i * MEASURED_RUNS + run] = now_ns() - start;
    }
    while (piece < model->facts->pieces && status == AEGIS_OK) { /* as cold as a job leaves it */
        status = aegis_runner_run(model->runner, ++piece, err);
    }
    return status;
}

aegis_status aegis_language_cut_candidates(void *self,
                                           aegis_stream *stream,
                                           const aegis_cut_candidate **ret_candidates,
                                           size_t *ret_count,
                                           aegis_error *err)
{
    language_model *model = self;
    const uint32_t pieces = model->facts->pieces;
    (void)stream;
    aegis_status status = aegis_language_make_candidates(&model->base, pieces, err);
    if (status != AEGIS_OK) {
        return status;
    }
    uint64_t *times = aegis_allocate_zeroed(&model->base.allocator, (size_t)pieces * MEASURED_RUNS,
                                            sizeof *times);
    if (times == NULL) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                 "no memory to measure %" PRIu32 " pieces", pieces);
    }
    const size_t count = list_candidates(model, model->base.candidates);
    for (size_t run = 0; run < MEASURED_RUNS && status == AEGIS_OK; run++) {
        status = measure(model, count, run, times, err);
    }
    for (size_t i = 0; i < count && status == AEGIS_OK; i++) {
        uint64_t *own = times + i * MEASURED_RUNS;
        qsort(own, MEASURED_RUNS, sizeof *own, compare);
        model->base.candidates[i].elapsed_ns = own[MEASURED_RUNS / 2];
    }
    model->base.next = 0; /* the step that was going on is gone */
    aegis_deallocate(&model->base.allocator, times, (size_t)pieces * MEASURED_RUNS, sizeof *times);
    if (status == AEGIS_OK) {
        *ret_candidates = model->base.candidates;
        *ret_count = count;
    }
    return status;
}
