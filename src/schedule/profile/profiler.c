/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures whole jobs (all segments in order) on the lane that would run them: alone with warm
 * caches, then with the fixed load on the other lanes and the lane's own caches swept before each
 * run, as other models leave them, and how long a run goes on after it was told to end. Without the
 * sweep the bound of a 0.3 ms model was passed by its median in service.
 */
#include <aegisrt/profile.h>

#include "base/base.h"
#include "schedule/profile/stressor.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#define COMPONENT "schedule.profiler"
/* Instants of one run at which its end is asked for. */
#define STRETCH_POINTS 24u
#define ALONE_SHARE 4u
/* Least number of runs when a tail is to be fitted: 100 of them above the threshold. */
#define EXTREME_SAMPLES 1000u
/* Larger than the caches of a core: 16 MiB. */
#define SWEEP_WORDS ((size_t)2 << 20)

struct aegis_profiler {
    aegis_allocator allocator;
    aegis_profiler_config config;
    aegis_stressor *stressor; /* NULL without other lanes */
    uint64_t *sweep;          /* read and written before a run that shall start cold */
};

/* One job on the lane's own thread. */
typedef struct timed_run {
    const aegis_clock *clock;
    aegis_stream *stream;
    aegis_model *model;
    uint64_t *sweep;           /* NULL: start with caches as they are */
    _Atomic uint64_t start_ns; /* 0 until it starts */
    uint64_t end_ns;
    aegis_status status;
    aegis_error error;
} timed_run;

static void run_job(void *argument)
{
    timed_run *run = argument;
    uint32_t segments = aegis_model_segment_count(run->model);
    for (size_t i = 0; run->sweep != NULL && i < SWEEP_WORDS; i++) {
        run->sweep[i] += i;
    }
    atomic_store(&run->start_ns, aegis_clock_now_ns(run->clock));
    run->status = AEGIS_OK;
    for (uint32_t segment = 0; segment < segments && run->status == AEGIS_OK; segment++) {
        run->status = aegis_model_execute(run->model, segment, 0, run->stream, &run->error);
    }
}

/* Runs when the device has finished, so that asynchronous work is counted. */
static void end_job(void *argument)
{
    timed_run *run = argument;
    run->end_ns = aegis_clock_now_ns(run->clock);
    if (run->status == AEGIS_OK) {
        aegis_model_commit(run->model);
    }
}

static aegis_status begin_run(timed_run *run, aegis_error *err)
{
    atomic_store(&run->start_ns, 0);
    aegis_status status = aegis_stream_call(run->stream, run_job, run, err);
    return status != AEGIS_OK ? status : aegis_stream_notify(run->stream, end_job, run, err);
}

static aegis_status run_once(timed_run *run, uint64_t *ret_elapsed_ns, aegis_error *err)
{
    aegis_status status = begin_run(run, err);
    if (status == AEGIS_OK) {
        status = aegis_stream_synchronize(run->stream, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    if (run->status != AEGIS_OK) {
        if (err != NULL) {
            *err = run->error;
        }
        return run->status;
    }
    *ret_elapsed_ns = run->end_ns - atomic_load(&run->start_ns);
    return AEGIS_OK;
}

static aegis_profile_options with_defaults(const aegis_profile_options *given)
{
    aegis_profile_options options = given == NULL ? (aegis_profile_options){0} : *given;
    options.quantile = options.quantile > 0 ? options.quantile : 0.99;
    options.assurance = options.assurance > 0 ? options.assurance : 0.95;
    options.margin = options.margin > 0 ? options.margin : 1.5;
    options.min_samples = options.min_samples > 0 ? options.min_samples : 100;
    options.max_samples = options.max_samples > 0 ? options.max_samples : 20000;
    options.warm_up = options.warm_up > 0 ? options.warm_up : 5;
    if (options.extreme_value && options.min_samples < EXTREME_SAMPLES) {
        options.min_samples = EXTREME_SAMPLES;
    }
    uint32_t needed = aegis_profile_samples_needed(options.quantile, options.assurance);
    if (options.min_samples < needed) {
        options.min_samples = needed;
    }
    if (options.min_samples > options.max_samples) {
        options.min_samples = options.max_samples;
    }
    return options;
}

static aegis_status check_options(const aegis_profile_options *options, aegis_error *err)
{
    if (!(options->quantile < 1) || !(options->assurance < 1) || !(options->margin >= 1)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "confidence %g and assurance %g must lie between 0 and 1, and the "
                               "margin %g must be at least 1",
                               options->quantile, options->assurance, options->margin);
    }
    return AEGIS_OK;
}

static void report(const aegis_profiler *profiler, const char *phase, uint32_t done, uint32_t total)
{
    if (profiler->config.progress != NULL) {
        profiler->config.progress(profiler->config.progress_self, phase, done, total);
    }
}

static aegis_status sample_series(aegis_profiler *profiler,
                                  timed_run *run,
                                  const char *phase,
                                  uint64_t *samples,
                                  uint32_t count,
                                  aegis_error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        aegis_status status = run_once(run, &samples[i], err);
        if (status != AEGIS_OK) {
            return status;
        }
        report(profiler, phase, i + 1, count);
    }
    return AEGIS_OK;
}

/* Asks a run to end `after_ns` into it and returns how long it went on: 0 when it had ended. */
static aegis_status
stretch_once(timed_run *run, uint64_t after_ns, uint64_t *ret_stretch_ns, aegis_error *err)
{
    aegis_status status = begin_run(run, err);
    if (status != AEGIS_OK) {
        return status;
    }
    uint64_t start = 0, asked = 0;
    while (start == 0) {
        start = atomic_load(&run->start_ns);
    }
    do {
        asked = aegis_clock_now_ns(run->clock);
    } while (asked < start + after_ns);
    aegis_model_terminate(run->model);
    status = aegis_stream_synchronize(run->stream, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (run->status != AEGIS_OK && run->status != AEGIS_ERROR_TERMINATED) {
        if (err != NULL) {
            *err = run->error;
        }
        return run->status;
    }
    *ret_stretch_ns = run->end_ns > asked ? run->end_ns - asked : 0;
    return AEGIS_OK;
}

/*
 * The longest stretch that cannot be ended. The end is asked for at STRETCH_POINTS evenly spaced
 * instants; an operator that lies between two of them is longer than what was seen by at most the
 * spacing, which is added.
 */
static aegis_status measure_stretch(aegis_profiler *profiler,
                                    timed_run *run,
                                    const aegis_profile_options *options,
                                    aegis_profile *profile,
                                    aegis_error *err)
{
    if (!aegis_model_can_terminate(run->model)) {
        profile->stretch_ns = profile->bound_ns;
        return AEGIS_OK;
    }
    uint64_t longest = 0, spacing = profile->alone.median_ns / STRETCH_POINTS;
    for (uint32_t i = 0; i < STRETCH_POINTS; i++) {
        uint64_t stretch = 0;
        aegis_status status = stretch_once(run, i * spacing, &stretch, err);
        if (status != AEGIS_OK) {
            return status;
        }
        longest = stretch > longest ? stretch : longest;
        report(profiler, "ending runs", i + 1, STRETCH_POINTS);
    }
    double factor = options->margin * fmax(1.0, profile->contention_factor);
    double bound = ceil((double)(longest + spacing) * factor);
    profile->stretch_ns = bound < (double)profile->bound_ns ? (uint64_t)bound : profile->bound_ns;
    return AEGIS_OK;
}

static aegis_status warm_up(timed_run *run, uint32_t runs, uint64_t *ret_cold_ns, aegis_error *err)
{
    for (uint32_t i = 0; i < runs; i++) {
        uint64_t elapsed;
        aegis_status status = run_once(run, &elapsed, err);
        if (status != AEGIS_OK) {
            return status;
        }
        if (i == 0) {
            *ret_cold_ns = elapsed;
        }
    }
    return AEGIS_OK;
}

static aegis_status sample_loaded(
    aegis_profiler *profiler, timed_run *run, uint64_t *samples, uint32_t count, aegis_error *err)
{
    if (profiler->stressor == NULL) {
        return sample_series(profiler, run, "profiling", samples, count, err);
    }
    aegis_status status = aegis_stressor_start(profiler->stressor, err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = sample_series(profiler, run, "profiling under load", samples, count, err);
    aegis_status stopped = aegis_stressor_stop(profiler->stressor, status == AEGIS_OK ? err : NULL);
    return status != AEGIS_OK ? status : stopped;
}

static aegis_status profile_model(aegis_profiler *profiler,
                                  aegis_model *model,
                                  const aegis_profile_options *given,
                                  bool under_load,
                                  aegis_profile *ret_profile,
                                  aegis_error *err)
{
    aegis_profile_options options = with_defaults(given);
    aegis_status status = check_options(&options, err);
    if (status != AEGIS_OK) {
        return status;
    }
    uint32_t count = options.min_samples;
    uint32_t alone = under_load ? count / ALONE_SHARE + 1 : count;
    uint64_t *samples = aegis_allocate_zeroed(&profiler->allocator, count, sizeof *samples);
    if (samples == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for %u samples", count);
    }
    timed_run run = {
        .clock = &profiler->config.clock, .stream = profiler->config.stream, .model = model};
    aegis_profile profile = {
        .quantile = options.quantile, .assurance = options.assurance, .margin = options.margin};
    status = warm_up(&run, options.warm_up, &profile.cold_ns, err);
    if (status != AEGIS_OK) {
        goto done;
    }
    status = sample_series(profiler, &run, "profiling alone", samples, alone, err);
    if (status != AEGIS_OK) {
        goto done;
    }
    aegis_profile_summarise(samples, alone, options.quantile, options.assurance, &profile.alone);
    if (under_load) {
        run.sweep = profiler->sweep;
        status = sample_loaded(profiler, &run, samples, count, err);
        run.sweep = NULL;
        if (status != AEGIS_OK) {
            goto done;
        }
    }
    if (options.extreme_value) { /* before the samples lose their order */
        status = aegis_extreme_fit_samples(samples, count, &options, &profiler->allocator,
                                           &profile.extreme, err);
        if (status != AEGIS_OK) {
            goto done;
        }
    }
    aegis_profile_summarise(samples, count, options.quantile, options.assurance, &profile.loaded);
    profile.bound_ns = aegis_profile_compute_wcet(
        samples, count, options.quantile, options.assurance, options.margin, &profile.method);
    aegis_profile_apply_extreme(&profile);
    profile.contention_factor =
        (double)profile.loaded.median_ns / (double)(profile.alone.median_ns + 1);
    status = measure_stretch(profiler, &run, &options, &profile, err);
    if (status == AEGIS_OK) {
        *ret_profile = profile;
    }
done:
    aegis_deallocate(&profiler->allocator, samples, count, sizeof *samples);
    return status;
}

aegis_status aegis_profiler_create(const aegis_profiler_config *config,
                                   const aegis_allocator *allocator,
                                   aegis_profiler **ret_profiler,
                                   aegis_error *err)
{
    if (config == NULL || config->stream == NULL || allocator == NULL || ret_profiler == NULL ||
        config->clock.ops == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "a profiler needs a stream, a clock and an allocator");
    }
    aegis_profiler *profiler = aegis_allocate_zeroed(allocator, 1, sizeof *profiler);
    if (profiler == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for a profiler");
    }
    profiler->allocator = *allocator;
    profiler->config = *config;
    profiler->sweep = aegis_allocate_zeroed(allocator, SWEEP_WORDS, sizeof *profiler->sweep);
    if (profiler->sweep == NULL) {
        aegis_profiler_destroy(profiler);
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to sweep the caches with");
    }
    if (config->other_count > 0) {
        aegis_status status = aegis_stressor_create(config->others, config->other_count, allocator,
                                                    &profiler->stressor, err);
        if (status != AEGIS_OK) {
            aegis_profiler_destroy(profiler);
            return status;
        }
    }
    *ret_profiler = profiler;
    return AEGIS_OK;
}

void aegis_profiler_destroy(aegis_profiler *profiler)
{
    if (profiler != NULL) {
        aegis_allocator allocator = profiler->allocator;
        aegis_stressor_destroy(profiler->stressor);
        aegis_deallocate(&allocator, profiler->sweep, SWEEP_WORDS, sizeof *profiler->sweep);
        aegis_deallocate(&allocator, profiler, 1, sizeof *profiler);
    }
}

aegis_status aegis_profiler_profile(aegis_profiler *profiler,
                                    aegis_model *model,
                                    const aegis_profile_options *options,
                                    aegis_profile *ret_profile,
                                    aegis_error *err)
{
    return profile_model(profiler, model, options, false, ret_profile, err);
}

aegis_status aegis_profiler_profile_under_load(aegis_profiler *profiler,
                                               aegis_model *model,
                                               const aegis_profile_options *options,
                                               aegis_profile *ret_profile,
                                               aegis_error *err)
{
    return profile_model(profiler, model, options, true, ret_profile, err);
}
