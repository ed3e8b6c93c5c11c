/* SPDX-License-Identifier: Apache-2.0 */
/* Where a null model of operators can be cut, with measured times. */
#include "backend/null/null_model.h"

#include <stdlib.h>

#define COMPONENT AEGIS_NULL
#define MEASURED_RUNS 7u

static aegis_status check(const null_model *model, aegis_error *err)
{
    if (model->file.operator_count == 0) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "the model is a list of segments; only a list of operators can be "
                               "cut");
    }
    if (model->placed || !model->recorded || model->file.segment_count > 1) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "cuts are looked for in a recorded, uncut model that is not placed");
    }
    return AEGIS_OK;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* `times` has MEASURED_RUNS entries for each operator: how long after the start of the run it
 * ended. */
static aegis_status measure(null_model *model, uint64_t *times, uint64_t *marks, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (size_t run = 0; run < MEASURED_RUNS && status == AEGIS_OK; run++) {
        uint64_t start = aegis_null_now_ns();
        model->marks = marks;
        status = aegis_null_run_segment(model, 0, 0, err);
        model->marks = NULL;
        for (size_t i = 0; i < model->file.operator_count && status == AEGIS_OK; i++) {
            times[i * MEASURED_RUNS + run] = marks[i] - start;
        }
    }
    return status;
}

static void fill(const null_model *model, uint64_t *times, aegis_cut_candidate *candidates)
{
    for (size_t position = 1; position < model->file.operator_count; position++) {
        aegis_cut_candidate *one = &candidates[position - 1];
        uint64_t *own = times + (position - 1) * MEASURED_RUNS;
        qsort(own, MEASURED_RUNS, sizeof *own, compare);
        *one = (aegis_cut_candidate){.position = (uint32_t)position,
                                     .elapsed_ns = own[MEASURED_RUNS / 2]};
        for (size_t i = 0; i < position; i++) {
            const aegis_null_operator *before = &model->file.operators[i];
            if (before->until >= position && before->bytes > 0) {
                one->live_tensors++;
                one->live_bytes += before->bytes;
            }
        }
    }
}

aegis_status aegis_null_cut_candidates(void *self,
                                       aegis_stream *stream,
                                       const aegis_cut_candidate **ret_candidates,
                                       size_t *ret_count,
                                       aegis_error *err)
{
    null_model *model = self;
    size_t count = model->file.operator_count;
    (void)stream;
    aegis_status status = check(model, err);
    if (status != AEGIS_OK) {
        return status;
    }
    uint64_t *times =
        aegis_allocate_zeroed(&model->allocator, count * MEASURED_RUNS, sizeof *times);
    uint64_t *marks = aegis_allocate_zeroed(&model->allocator, count, sizeof *marks);
    if (model->candidates == NULL) {
        model->candidates =
            aegis_allocate_zeroed(&model->allocator, count, sizeof *model->candidates);
    }
    if (times == NULL || marks == NULL || model->candidates == NULL) {
        aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                        "no memory to measure %zu operators", count);
        status = AEGIS_ERROR_NO_MEMORY;
        goto done;
    }
    status = measure(model, times, marks, err);
    if (status == AEGIS_OK) {
        fill(model, times, model->candidates);
        *ret_candidates = model->candidates;
        *ret_count = count - 1;
    }
done:
    aegis_deallocate(&model->allocator, times, count * MEASURED_RUNS, sizeof *times);
    aegis_deallocate(&model->allocator, marks, count, sizeof *marks);
    return status;
}
