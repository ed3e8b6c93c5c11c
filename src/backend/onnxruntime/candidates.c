/* SPDX-License-Identifier: Apache-2.0 */
/* Where a model could be cut, and what it would cost. */
#include "backend/onnxruntime/model.h"

#include <aegisrt/clock.h>

#include <stdlib.h>

#define COMPONENT "backend.cut"
#define FEWEST_RUNS 5u
#define MOST_RUNS 31u
#define MOST_TENSORS 8                    /* that cross a candidate */
#define WANTED_NS (200 * AEGIS_NS_PER_MS) /* of measuring */

/* ---- time ---- */

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* To its end, also on a device. */
static aegis_status run_whole(aegis_ort_model *model, aegis_error *err)
{
    return model->cuda != NULL ? aegis_ort_cuda_run_job(model, err)
                               : aegis_ort_model_run(model, 0, 0, err);
}

/* Median of whole runs without the profiler, and how many there were. */
static aegis_status
time_runs(aegis_ort_model *model, uint64_t *ret_median_ns, unsigned *ret_runs, aegis_error *err)
{
    aegis_clock clock = aegis_clock_monotonic();
    uint64_t times[MOST_RUNS], total = 0;
    unsigned runs = 0;
    uint32_t written = model->surface.written;
    aegis_status status = run_whole(model, err); /* warms up */
    while (status == AEGIS_OK && runs < MOST_RUNS && (runs < FEWEST_RUNS || total < WANTED_NS)) {
        uint64_t start = aegis_clock_now_ns(&clock);
        status = run_whole(model, err);
        times[runs] = aegis_clock_now_ns(&clock) - start;
        total += times[runs++];
    }
    model->surface.written = written;
    if (status != AEGIS_OK) {
        return status;
    }
    qsort(times, runs, sizeof times[0], compare_times);
    *ret_median_ns = times[runs / 2];
    *ret_runs = runs;
    return AEGIS_OK;
}

/* ---- positions ---- */

typedef struct crossing {
    uint32_t tensors;
    uint64_t bytes;
    bool known; /* all types and shapes */
} crossing;

static void count_crossings(const aegis_ort_profile *profile, crossing *at)
{
    for (uint32_t p = 0; p <= profile->operators; p++) {
        at[p] = (crossing){.known = true};
    }
    for (size_t i = 0; i < profile->value_count; i++) {
        const aegis_onnx_value *value = &profile->values[i];
        const aegis_tensor_info *type = &profile->types[i];
        bool known = aegis_element_bytes(type->element) > 0;
        for (uint32_t p = value->born + 1; p <= value->last; p++) {
            at[p].known = at[p].known && known;
            at[p].tensors += !value->output;
            at[p].bytes += value->output ? 0 : type->size_bytes;
        }
    }
}

static bool is_candidate(const crossing *at, uint32_t p, uint32_t operators)
{
    const crossing *here = &at[p];
    bool least = (p <= 1 || here->bytes <= at[p - 1].bytes) &&
                 (p + 1 >= operators || here->bytes <= at[p + 1].bytes);
    return here->known && here->tensors > 0 && here->tensors <= MOST_TENSORS &&
           (here->tensors == 1 || least);
}

/* What the profiler does not see (going from operator to operator) is spread evenly over them; what
 * it adds is taken off in proportion. */
static uint64_t time_at(const aegis_ort_profile *profile, uint32_t p, uint64_t whole_ns)
{
    uint64_t sum = profile->elapsed_ns[profile->operators], at = profile->elapsed_ns[p];
    if (whole_ns >= sum) {
        return at + (uint64_t)((aegis_u128)(whole_ns - sum) * p / profile->operators);
    }
    return (uint64_t)((aegis_u128)at * whole_ns / sum);
}

static aegis_status list_candidates(const aegis_ort_profile *profile,
                                    uint64_t whole_ns,
                                    aegis_cut_candidate **ret_candidates,
                                    size_t *ret_count,
                                    aegis_error *err)
{
    const aegis_allocator *allocator = &profile->allocator;
    uint32_t operators = profile->operators;
    size_t room = (size_t)operators + 2, count = 0, used = 0;
    crossing *at = aegis_allocate_zeroed(allocator, room, sizeof *at);
    if (at == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to list where the model can be cut");
    }
    count_crossings(profile, at);
    for (uint32_t p = 1; p < operators; p++) {
        count += is_candidate(at, p, operators);
    }
    aegis_cut_candidate *list = aegis_allocate_zeroed(allocator, count + 1, sizeof *list);
    for (uint32_t p = 1; list != NULL && p < operators; p++) {
        if (is_candidate(at, p, operators)) {
            list[used++] = (aegis_cut_candidate){.position = p,
                                                 .live_tensors = at[p].tensors,
                                                 .live_bytes = at[p].bytes,
                                                 .elapsed_ns = time_at(profile, p, whole_ns)};
        }
    }
    aegis_deallocate(allocator, at, room, sizeof *at);
    if (list == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to list where the model can be cut");
    }
    *ret_candidates = list;
    *ret_count = count;
    return AEGIS_OK;
}

aegis_status aegis_ort_model_candidates(aegis_ort_model *model, aegis_error *err)
{
    aegis_ort_profile profile = {.graph = NULL};
    aegis_cut_candidate *list = NULL;
    size_t count = 0;
    uint64_t whole_ns = 0;
    unsigned runs = 0;
    const char *name = model->surface.model_name;
    if (model->placed || !model->recorded || model->segment_count > 1) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "model '%s': cuts are looked for in a recorded, uncut model that is "
                               "not placed",
                               name);
    }
    if (model->paging.wanted) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "model '%s' is paged: between two segments another model could "
                               "overwrite its weights",
                               name);
    }
    if (model->compiled.at_load) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "model '%s' cannot be cut: its control flow is optimised whenever "
                               "it is loaded, so that its operators have no fixed positions",
                               name);
    }
    /* For a device the shares of the operators are those on the CPU, of a whole run there: the
     * runtime's profiler times on a device what the CPU enqueues. */
    aegis_ort_session_config config = aegis_ort_model_session(model, 0);
    config.cuda = NULL;
    aegis_status status = time_runs(model, &whole_ns, &runs, err);
    if (status == AEGIS_OK) {
        status = aegis_ort_profile_take(model->backend->ort, &config, &model->surface, runs,
                                        &model->allocator, &profile, err);
    }
    if (status == AEGIS_OK) {
        status = list_candidates(&profile, whole_ns, &list, &count, err);
    }
    aegis_ort_profile_finish(&profile);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_deallocate(&model->allocator, model->candidates, model->candidate_count + 1,
                     sizeof *model->candidates);
    model->candidates = list;
    model->candidate_count = count;
    return AEGIS_OK;
}
