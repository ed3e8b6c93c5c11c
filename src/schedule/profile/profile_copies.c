/* SPDX-License-Identifier: Apache-2.0 */
/* The bound of an early copy: from the call that asks for it to the moment that the copy stream's
 * thread sees its end, with every lane loaded. The thread sleeps before each, as it will. */
#include "schedule/profile/profiler.h"

#include "base/base.h"

#include <time.h>

#define COMPONENT "schedule.profiler"
#define WARM_UP 5u

typedef struct timed_copy {
    const aegis_clock *clock;
    aegis_stream *stream;
    aegis_model *model;
    uint64_t begin_ns, end_ns;
    uint64_t least_ns; /* of end - begin so far: the thread waits as it will */
    aegis_status status;
    aegis_error error;
} timed_copy;

static void enqueue(void *argument)
{
    timed_copy *copy = argument;
    copy->begin_ns = aegis_clock_now_ns(copy->clock);
    aegis_stream_expect(copy->stream, copy->least_ns);
    copy->status = aegis_model_enqueue_inputs(copy->model, 0, copy->stream, &copy->error);
}

static void end(void *argument)
{
    timed_copy *copy = argument;
    copy->end_ns = aegis_clock_now_ns(copy->clock);
}

/* 0.1 to 3 ms: a thread that slept longer finds colder caches. */
static void nap(uint32_t i)
{
    const long steps = 1 + i * 7919L % 30;
    nanosleep(&(struct timespec){.tv_nsec = steps * 100000L}, NULL);
}

static aegis_status copy_once(timed_copy *copy, uint64_t *ret_elapsed_ns, aegis_error *err)
{
    const uint64_t start = aegis_clock_now_ns(copy->clock);
    aegis_status status = aegis_stream_call(copy->stream, enqueue, copy, err);
    if (status == AEGIS_OK) {
        status = aegis_stream_notify(copy->stream, end, copy, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_stream_synchronize(copy->stream, err);
    }
    if (status == AEGIS_OK && copy->status != AEGIS_OK) {
        status = copy->status;
        if (err != NULL) {
            *err = copy->error;
        }
    }
    if (status == AEGIS_OK) {
        const uint64_t took = copy->end_ns - copy->begin_ns;
        copy->least_ns = copy->least_ns == 0 || took < copy->least_ns ? took : copy->least_ns;
        *ret_elapsed_ns = copy->end_ns - start;
    }
    return status;
}

static aegis_status sample(const aegis_profiler *profiler,
                           aegis_model *model,
                           uint64_t *samples,
                           uint32_t count,
                           uint64_t *ret_least_ns,
                           aegis_error *err)
{
    timed_copy copy = {
        .clock = &profiler->config.clock, .stream = profiler->config.copy_stream, .model = model};
    aegis_status status = AEGIS_OK;
    for (uint32_t i = 0; i < count + WARM_UP && status == AEGIS_OK; i++) {
        nap(i);
        status = copy_once(&copy, &samples[i < WARM_UP ? 0 : i - WARM_UP], err);
        aegis_profiler_report(profiler, "profiling copies", i + 1, count + WARM_UP);
    }
    *ret_least_ns = copy.least_ns;
    return status;
}

static aegis_status sample_loaded(const aegis_profiler *profiler,
                                  aegis_model *model,
                                  uint64_t *samples,
                                  uint32_t count,
                                  uint64_t *ret_least_ns,
                                  aegis_error *err)
{
    const size_t own = profiler->config.lane_count; /* behind the lanes */
    aegis_status status = aegis_stressor_start(profiler->stressor, own, err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = sample(profiler, model, samples, count, ret_least_ns, err);
    aegis_status stopped = aegis_stressor_stop(profiler->stressor, status == AEGIS_OK ? err : NULL);
    return status != AEGIS_OK ? status : stopped;
}

aegis_status aegis_profiler_profile_copies(aegis_profiler *profiler,
                                           aegis_model *model,
                                           const aegis_profile_options *options,
                                           aegis_profile *profile,
                                           aegis_error *err)
{
    aegis_profile_options used;
    aegis_bound_method method;
    aegis_status status = aegis_profiler_options(options, &used, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (profiler->config.copy_stream == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "copies are measured on a stream of their own: give "
                               "aegis_profiler_config.copy_stream");
    }
    if (!aegis_model_copies_early(model)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "%s copies its inputs in its own runs; open it with early_copies",
                               aegis_model_name(model));
    }
    const uint32_t count = used.min_samples;
    uint64_t *samples = aegis_allocate_zeroed(&profiler->allocator, count, sizeof *samples);
    if (samples == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for %u samples", count);
    }
    uint64_t least_ns = 0;
    status = sample_loaded(profiler, model, samples, count, &least_ns, err);
    if (status == AEGIS_OK) {
        profile->copy_least_ns = least_ns;
        aegis_profile_summarise(samples, count, used.quantile, used.assurance, &profile->copy);
        profile->copy_bound_ns = aegis_profile_compute_wcet(samples, count, used.quantile,
                                                            used.assurance, used.margin, &method);
    }
    aegis_deallocate(&profiler->allocator, samples, count, sizeof *samples);
    return status;
}
