/* SPDX-License-Identifier: Apache-2.0 */
/* A model opened with some cuts, recorded, measured and closed again. */
#include "system/internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static aegis_status copy_lifetimes(const aegis_system *system,
                                   const aegis_model *model,
                                   aegis_system_trial *trial,
                                   aegis_error *err)
{
    const aegis_tensor_lifetime *lifetimes;
    size_t count;
    aegis_status status = aegis_model_estimate_lifetimes(model, &lifetimes, &count, err);
    if (status != AEGIS_OK) {
        return status;
    }
    trial->lifetimes = aegis_allocate_zeroed(&system->allocator, count, sizeof *lifetimes);
    if (trial->lifetimes == NULL) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for %zu lifetimes", count);
    }
    memcpy(trial->lifetimes, lifetimes, count * sizeof *lifetimes);
    trial->lifetime_count = count;
    return AEGIS_OK;
}

static aegis_profile_options options_of(const aegis_workload_model *wanted)
{
    return (aegis_profile_options){.min_samples = wanted->samples,
                                   .quantile = wanted->confidence,
                                   .assurance = wanted->assurance,
                                   .margin = wanted->margin,
                                   .extreme_value = wanted->extreme_value,
                                   .exceedance = wanted->exceedance};
}

/* On a GPU a run ends when its lane sees the end, and how it looks moves that by more than 0.1 ms;
 * what the device's cache holds moves it too, as do the multiprocessors of the lane and the load of
 * the others. On a host a run ends when its call returns. */
static aegis_status
add_completion(const aegis_system *system, size_t index, char key[65], aegis_error *err)
{
    char text[512];
    const aegis_workload *workload = system->workload;
    if (system->capabilities.kind != AEGIS_DEVICE_CUDA) {
        return AEGIS_OK;
    }
    int length = snprintf(text, sizeof text, "%s|completion %d|scratch %" PRIu64, key,
                          (int)workload->completion, system->scratch.size_bytes);
    if (workload->lane_multiprocessors[0] > 0) {
        length += snprintf(text + length, sizeof text - (size_t)length, "|%d multiprocessors of",
                           workload->lane_multiprocessors[aegis_system_lane_of(system, index)]);
        for (size_t i = 0; i < workload->lanes; i++) {
            length += snprintf(text + length, sizeof text - (size_t)length, " %d",
                               workload->lane_multiprocessors[i]);
        }
    }
    return aegis_sha256_bytes(text, (size_t)length, key, err);
}

static aegis_status
make_key(const aegis_system *system, size_t index, aegis_system_trial *trial, aegis_error *err)
{
    const aegis_workload_model *wanted = &system->workload->models[index];
    aegis_profile_options options = options_of(wanted);
    char key[65];
    aegis_status status =
        aegis_profile_make_key(system->entries[index].model, &system->capabilities,
                               system->workload->lanes, wanted->config.threads, &options, key, err);
    if (status == AEGIS_OK) {
        status = add_completion(system, index, key, err);
    }
    if (status == AEGIS_OK && system->copy_stream != NULL) {
        status = aegis_profile_copies_key(key, system->entries[index].early_copies, key, err);
    }
    return status != AEGIS_OK
               ? status
               : aegis_profile_cut_key(key, trial->cuts, trial->cut_count, trial->profile.key, err);
}

/* Step 3. A kept profile is used only when everything that moves the figures is equal. */
static aegis_status
measure(aegis_system *system, size_t index, aegis_system_trial *trial, aegis_error *err)
{
    const aegis_workload_model *wanted = &system->workload->models[index];
    aegis_profile_options options = options_of(wanted);
    char key[65], path[4096], stale[4096];
    aegis_profile before;
    aegis_status status = make_key(system, index, trial, err);
    if (status != AEGIS_OK) {
        return status;
    }
    memcpy(key, trial->profile.key, sizeof key);
    aegis_system_profile_path(system, key, path, sizeof path);
    if (!system->options.fresh_profiles &&
        aegis_profile_load(path, key, &trial->profile, NULL) == AEGIS_OK) {
        trial->from_cache = true;
        return AEGIS_OK;
    }
    aegis_system_stale_path(system, key, stale, sizeof stale);
    bool was_stale = aegis_profile_load(stale, key, &before, NULL) == AEGIS_OK;
    system->progress_model = wanted->name;
    aegis_profiler_use_lane(system->profiler, aegis_system_lane_of(system, index));
    status = aegis_profiler_profile_under_load(system->profiler, system->entries[index].model,
                                               &options, &trial->profile, err);
    if (status == AEGIS_OK && system->entries[index].early_copies) {
        status = aegis_profiler_profile_copies(system->profiler, system->entries[index].model,
                                               &options, &trial->profile, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    memcpy(trial->profile.key, key, sizeof key);
    status = aegis_profile_save(path, &trial->profile, err);
    if (status == AEGIS_OK && was_stale) {
        trial->stale_bound_ns = before.bound_ns;
        unlink(stale); /* a second note of it would say the same */
    }
    return status;
}

static aegis_status
open_cut(aegis_system *system, size_t index, const aegis_system_trial *trial, aegis_error *err)
{
    aegis_system_entry *entry = &system->entries[index];
    uint32_t cuts[AEGIS_MAX_SEGMENTS];
    size_t cut_count = entry->cut_count;
    memcpy(cuts, entry->cuts, sizeof cuts);
    memcpy(entry->cuts, trial->cuts, sizeof entry->cuts);
    entry->cut_count = trial->cut_count;
    aegis_status status = aegis_system_open_model(system, index, err);
    entry->cuts_failed = status != AEGIS_OK && trial->cut_count > 0;
    memcpy(entry->cuts, cuts, sizeof entry->cuts);
    entry->cut_count = cut_count;
    return status;
}

aegis_status aegis_system_trial_run(aegis_system *system,
                                    size_t index,
                                    const uint32_t *cuts,
                                    size_t cut_count,
                                    aegis_system_trial **ret_trial,
                                    aegis_error *err)
{
    aegis_system_entry *entry = &system->entries[index];
    aegis_system_trial *trial = aegis_allocate_zeroed(&system->allocator, 1, sizeof *trial);
    if (trial == NULL) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to measure a model");
    }
    for (size_t i = 0; i < cut_count; i++) {
        trial->cuts[i] = cuts[i];
    }
    trial->cut_count = cut_count;
    trial->limited_by = AEGIS_TRACE_NONE;
    aegis_status status = open_cut(system, index, trial, err);
    if (status == AEGIS_OK) {
        status = copy_lifetimes(system, entry->model, trial, err);
    }
    if (status == AEGIS_OK) {
        uint64_t since = aegis_clock_now_ns(&system->clock);
        status = measure(system, index, trial, err);
        aegis_system_trace_step(system, index, 3, since, status);
    }
    if (status == AEGIS_OK) { /* and again once it is placed */
        system->models[index].overhead_bytes = aegis_model_overhead_bytes(entry->model);
    }
    /* One trial at a time is in memory; the model is opened again when its place is known. */
    aegis_model_close(entry->model);
    entry->model = NULL;
    aegis_heap_trim();
    if (status != AEGIS_OK) {
        aegis_system_trial_free(system, trial);
        return status;
    }
    *ret_trial = trial;
    return AEGIS_OK;
}

void aegis_system_trial_free(const aegis_system *system, aegis_system_trial *trial)
{
    if (trial != NULL) {
        aegis_deallocate(&system->allocator, trial->lifetimes, trial->lifetime_count,
                         sizeof *trial->lifetimes);
        aegis_deallocate(&system->allocator, trial, 1, sizeof *trial);
    }
}

uint64_t
aegis_system_longest_ns(const aegis_system *system, size_t index, const aegis_profile *profile)
{
    bool aborts = system->workload->models[index].overrun == AEGIS_OVERRUN_ABORT;
    uint64_t longest = 0;
    for (uint32_t i = 0; i < aegis_profile_segments(profile); i++) {
        aegis_profile_segment one = aegis_profile_segment_at(profile, i);
        uint64_t length = one.bound_ns + (aborts ? one.stretch_ns : 0) +
                          aegis_scheduler_overhead_bound_ns(system->scheduler);
        longest = length > longest ? length : longest;
    }
    return longest;
}

static aegis_cut_candidate candidate_at(const aegis_system_entry *entry, uint32_t position)
{
    for (size_t i = 0; i < entry->candidate_count; i++) {
        if (entry->candidates[i].position == position) {
            return entry->candidates[i];
        }
    }
    return (aegis_cut_candidate){.position = position};
}

static void describe_cuts(aegis_system *system, size_t index, const aegis_system_trial *trial)
{
    const aegis_system_entry *entry = &system->entries[index];
    aegis_system_cuts *cuts = &system->models[index].cuts;
    *cuts = (aegis_system_cuts){
        .mode = aegis_system_wanted_cuts(system, index)->mode,
        .count = (uint32_t)trial->cut_count,
        .tolerance_ns = trial->tolerance_ns,
        .limited_by = trial->limited_by,
        .whole_bound_ns = entry->whole.bound_ns,
        .longest_before_ns = aegis_system_longest_ns(system, index, &entry->whole),
        .longest_after_ns = aegis_system_longest_ns(system, index, &trial->profile),
        .overhead_ns = (int64_t)trial->profile.bound_ns - (int64_t)entry->whole.bound_ns,
        .tries = cuts->tries};
    for (size_t i = 0; i < trial->cut_count; i++) {
        cuts->at[i] = candidate_at(entry, trial->cuts[i]);
    }
}

void aegis_system_trial_adopt(aegis_system *system, size_t index, aegis_system_trial *trial)
{
    aegis_system_entry *entry = &system->entries[index];
    aegis_system_model *model = &system->models[index];
    aegis_deallocate(&system->allocator, entry->lifetimes, entry->lifetime_count,
                     sizeof *entry->lifetimes);
    entry->lifetimes = trial->lifetimes;
    entry->lifetime_count = trial->lifetime_count;
    memcpy(entry->cuts, trial->cuts, sizeof entry->cuts);
    entry->cut_count = trial->cut_count;
    model->profile = trial->profile;
    model->profile_from_cache = trial->from_cache;
    model->profile_stale_bound_ns = trial->stale_bound_ns;
    model->segments = aegis_profile_segments(&trial->profile);
    describe_cuts(system, index, trial);
    trial->lifetimes = NULL; /* taken */
    trial->lifetime_count = 0;
    aegis_system_trial_free(system, trial);
}

aegis_status
aegis_system_unpack(aegis_system *system, size_t index, bool *ret_done, aegis_error *err)
{
    aegis_system_entry *entry = &system->entries[index];
    aegis_system_model *model = &system->models[index];
    aegis_system_trial *trial = NULL;
    uint64_t packed_ns = model->profile.bound_ns;
    *ret_done = false;
    if (!system->workload->models[index].prepack_auto || !entry->prepack) {
        return AEGIS_OK;
    }
    entry->prepack = false;
    aegis_status status =
        aegis_system_trial_run(system, index, entry->cuts, entry->cut_count, &trial, err);
    if (status != AEGIS_OK) {
        return status;
    }
    assert(trial != NULL);
    if (entry->cut_count == 0) {
        entry->whole = trial->profile;
    }
    aegis_system_trial_adopt(system, index, trial);
    model->prepacked = false;
    model->unpacked_for_memory = true;
    model->unpacking_price_ns = (int64_t)model->profile.bound_ns - (int64_t)packed_ns;
    *ret_done = true;
    return AEGIS_OK;
}

static aegis_status copy_candidates(aegis_system *system, size_t index, aegis_error *err)
{
    aegis_system_entry *entry = &system->entries[index];
    aegis_stream *lane = system->lanes[aegis_system_lane_of(system, index)];
    const aegis_cut_candidate *candidates = NULL;
    size_t count = 0;
    aegis_status status = aegis_model_cut_candidates(entry->model, lane, &candidates, &count, err);
    if (status != AEGIS_OK) {
        return status;
    }
    entry->candidates = aegis_allocate_zeroed(&system->allocator, count, sizeof *candidates);
    if (entry->candidates == NULL && count > 0) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for %zu places to cut", count);
    }
    for (size_t i = 0; i < count; i++) {
        entry->candidates[i] = candidates[i];
    }
    entry->candidate_count = count;
    /* What follows the last candidate is not timed with them. The fastest run is what other
     * programs disturbed least. */
    uint64_t last = count > 0 ? candidates[count - 1].elapsed_ns : 0;
    uint64_t whole = entry->whole.alone.best_ns;
    entry->elapsed_ns = whole > last ? whole : last > 0 ? last : 1;
    return AEGIS_OK;
}

aegis_status aegis_system_find_candidates(aegis_system *system, size_t index, aegis_error *err)
{
    aegis_system_entry *entry = &system->entries[index];
    const aegis_system_trial whole = {0};
    if (entry->candidates != NULL) {
        return AEGIS_OK;
    }
    aegis_system_report(system, "looking for cuts", system->workload->models[index].name, 0, 1);
    aegis_status status = open_cut(system, index, &whole, err);
    if (status == AEGIS_OK) {
        status = copy_candidates(system, index, err);
    }
    aegis_model_close(entry->model);
    entry->model = NULL;
    return status;
}
