/* SPDX-License-Identifier: Apache-2.0 */
/* Profile files and their key. */
#include <aegisrt/profile.h>
#include <aegisrt/version.h>

#include "base/base.h"
#include "schedule/profile/extreme_json.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "schedule.profile"
/* Of the layout and of the way of measuring: 5: what a run touches is put out of the caches by
 * address. */
#define LAYOUT 5

aegis_status aegis_profile_make_key(const aegis_model *model,
                                    const aegis_device_capabilities *capabilities,
                                    unsigned lanes,
                                    unsigned threads,
                                    const aegis_profile_options *options,
                                    char ret_key[65],
                                    aegis_error *err)
{
    char text[2048];
    size_t at = 0, input_count = 0;
    const aegis_tensor_info *inputs = aegis_model_inputs(model, &input_count);
    at += (size_t)snprintf(
        text, sizeof text, "%s|%s|%s|%s|%d cores|%d kHz|%u lanes|%u threads|%g %g %g|%u %u|%u",
        AEGIS_VERSION_STRING, aegis_model_hash(model), aegis_model_label(model), capabilities->name,
        capabilities->multiprocessor_count, capabilities->core_clock_khz, lanes, threads,
        options->quantile, options->assurance, options->margin, options->min_samples,
        options->max_samples, aegis_model_segment_count(model));
    for (size_t i = 0; i < input_count && at < sizeof text - 64; i++) {
        at += (size_t)snprintf(text + at, sizeof text - at, "|%.48s", inputs[i].name);
        for (int d = 0; d < inputs[i].rank && at < sizeof text - 64; d++) {
            at += (size_t)snprintf(text + at, sizeof text - at, ",%" PRId64, inputs[i].shape[d]);
        }
    }
    if (options->extreme_value && at < sizeof text) {
        at += (size_t)snprintf(text + at, sizeof text - at, "|evt %g", options->exceedance);
        at = at < sizeof text ? at : sizeof text - 1;
    }
    return aegis_sha256_bytes(text, at, ret_key, err);
}

aegis_status aegis_profile_cut_key(
    const char key[65], const uint32_t *cuts, size_t cut_count, char ret_key[65], aegis_error *err)
{
    char text[65 + 12 * AEGIS_MAX_SEGMENTS];
    size_t at = (size_t)snprintf(text, sizeof text, "%s", key);
    if (cut_count >= AEGIS_MAX_SEGMENTS) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "%zu cuts; a model has at most %d segments", cut_count,
                               AEGIS_MAX_SEGMENTS);
    }
    for (size_t i = 0; i < cut_count; i++) {
        at += (size_t)snprintf(text + at, sizeof text - at, "|%" PRIu32, cuts[i]);
    }
    if (cut_count == 0) {
        memmove(ret_key, key, 65);
        return AEGIS_OK;
    }
    return aegis_sha256_bytes(text, at, ret_key, err);
}

aegis_status
aegis_profile_copies_key(const char key[65], bool early, char ret_key[65], aegis_error *err)
{
    char text[128];
    int length = snprintf(text, sizeof text, "%.64s|copies %s, beside copies in", key,
                          early ? "early" : "inline");
    return aegis_sha256_bytes(text, (size_t)length, ret_key, err);
}

static json_t *series_to_json(const aegis_profile_series *series)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "samples", (json_int_t)series->samples,
                     "best_ns", (json_int_t)series->best_ns, "median_ns",
                     (json_int_t)series->median_ns, "average_ns", (json_int_t)series->average_ns,
                     "quantile_ns", (json_int_t)series->quantile_ns, "worst_ns",
                     (json_int_t)series->worst_ns, "cv", series->cv);
}

static json_t *copy_to_json(const aegis_profile *profile)
{
    return json_pack("{s:o, s:I, s:I}", "series", series_to_json(&profile->copy), "bound_ns",
                     (json_int_t)profile->copy_bound_ns, "least_ns",
                     (json_int_t)profile->copy_least_ns);
}

/* NULL when there is no memory for all of them. */
static json_t *segments_to_json(const aegis_profile *profile)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < profile->segment_count && list != NULL; i++) {
        const aegis_profile_segment *one = &profile->segments[i];
        json_t *segment =
            json_pack("{s:o, s:I, s:I}", "series", series_to_json(&one->series), "bound_ns",
                      (json_int_t)one->bound_ns, "stretch_ns", (json_int_t)one->stretch_ns);
        if (json_array_append_new(list, segment) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

/* By a buffer that is large enough from the start: while jansson's own grows, a key for which there
 * is no memory is left out and nothing is said. NULL when there is no memory. */
static char *text_of(const json_t *root, size_t *ret_size)
{
    const size_t size = root == NULL ? 0 : json_dumpb(root, NULL, 0, JSON_INDENT(2));
    char *text = size == 0 ? NULL : malloc(size);
    if (text != NULL && json_dumpb(root, text, size, JSON_INDENT(2)) != size) {
        free(text);
        text = NULL;
    }
    *ret_size = size;
    return text;
}

aegis_status aegis_profile_save(const char *path, const aegis_profile *profile, aegis_error *err)
{
    json_t *root = json_pack(
        "{s:i, s:i, s:o, s:s, s:o, s:o, s:I, s:f, s:f, s:f, s:f, s:s, s:I, s:I, s:o}",
        "schema_version", AEGIS_JSON_SCHEMA_VERSION, "layout", LAYOUT, "segments",
        segments_to_json(profile), "key", profile->key, "alone", series_to_json(&profile->alone),
        "loaded", series_to_json(&profile->loaded), "cold_ns", (json_int_t)profile->cold_ns,
        "contention_factor", profile->contention_factor, "quantile", profile->quantile, "assurance",
        profile->assurance, "margin", profile->margin, "method",
        aegis_bound_method_name(profile->method), "bound_ns", (json_int_t)profile->bound_ns,
        "stretch_ns", (json_int_t)profile->stretch_ns, "extreme_value",
        aegis_extreme_to_json(&profile->extreme));
    if (profile->copy_bound_ns > 0 && root != NULL &&
        json_object_set_new(root, "copy", copy_to_json(profile)) != 0) {
        json_decref(root);
        root = NULL;
    }
    size_t size = 0;
    char *text = text_of(root, &size);
    json_decref(root);
    if (text == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to write the profile %s", path);
    }
    aegis_status status = aegis_file_write_atomic(path, text, size, err);
    free(text);
    return status;
}

typedef struct series_numbers {
    json_int_t samples, best, median, average, quantile, worst;
    double cv;
} series_numbers;

static bool series_from_json(const json_t *node, aegis_profile_series *ret_series)
{
    series_numbers n;
    if (json_unpack((json_t *)node, "{s:I, s:I, s:I, s:I, s:I, s:I, s:F}", "samples", &n.samples,
                    "best_ns", &n.best, "median_ns", &n.median, "average_ns", &n.average,
                    "quantile_ns", &n.quantile, "worst_ns", &n.worst, "cv", &n.cv) != 0 ||
        n.samples < 0 || n.samples > UINT32_MAX || n.best < 0 || n.best > n.worst) {
        return false;
    }
    *ret_series = (aegis_profile_series){.samples = (uint32_t)n.samples,
                                         .best_ns = (uint64_t)n.best,
                                         .median_ns = (uint64_t)n.median,
                                         .average_ns = (uint64_t)n.average,
                                         .quantile_ns = (uint64_t)n.quantile,
                                         .worst_ns = (uint64_t)n.worst,
                                         .cv = n.cv};
    return true;
}

static bool segments_from_json(const json_t *list, aegis_profile *profile)
{
    uint64_t sum = 0;
    if (!json_is_array(list) || json_array_size(list) > AEGIS_MAX_SEGMENTS) {
        return false;
    }
    profile->segment_count = (uint32_t)json_array_size(list);
    for (uint32_t i = 0; i < profile->segment_count; i++) {
        aegis_profile_segment *one = &profile->segments[i];
        json_int_t bound, stretch;
        json_t *series;
        if (json_unpack(json_array_get(list, i), "{s:o, s:I, s:I}", "series", &series, "bound_ns",
                        &bound, "stretch_ns", &stretch) != 0 ||
            !series_from_json(series, &one->series) || bound <= 0 || stretch < 0) {
            return false;
        }
        one->bound_ns = (uint64_t)bound;
        one->stretch_ns = (uint64_t)stretch;
        sum += one->bound_ns;
    }
    return profile->segment_count == 0 || sum == profile->bound_ns;
}

/* Of models with early copies alone. */
static bool copy_from_json(const json_t *node, aegis_profile *profile)
{
    json_t *series;
    json_int_t bound, least;
    if (node == NULL) {
        return true;
    }
    if (json_unpack((json_t *)node, "{s:o, s:I, s:I}", "series", &series, "bound_ns", &bound,
                    "least_ns", &least) != 0 ||
        !series_from_json(series, &profile->copy) || bound <= 0 || least < 0) {
        return false;
    }
    profile->copy_bound_ns = (uint64_t)bound;
    profile->copy_least_ns = (uint64_t)least;
    return true;
}

static bool profile_from_json(json_t *root, aegis_profile *ret_profile)
{
    aegis_profile profile = {0};
    const char *key, *method;
    json_t *alone, *loaded, *segments;
    json_int_t cold, bound, stretch, layout;
    if (json_unpack(root, "{s:I, s:o, s:s, s:o, s:o, s:I, s:F, s:F, s:F, s:F, s:s, s:I, s:I}",
                    "layout", &layout, "segments", &segments, "key", &key, "alone", &alone,
                    "loaded", &loaded, "cold_ns", &cold, "contention_factor",
                    &profile.contention_factor, "quantile", &profile.quantile, "assurance",
                    &profile.assurance, "margin", &profile.margin, "method", &method, "bound_ns",
                    &bound, "stretch_ns", &stretch) != 0 ||
        !series_from_json(alone, &profile.alone) || !series_from_json(loaded, &profile.loaded) ||
        !aegis_extreme_from_json(json_object_get(root, "extreme_value"), &profile.extreme) ||
        layout != LAYOUT || cold < 0 || bound <= 0 || stretch < 0 ||
        strlen(key) != sizeof profile.key - 1) {
        return false;
    }
    profile.cold_ns = (uint64_t)cold;
    profile.bound_ns = (uint64_t)bound;
    profile.stretch_ns = (uint64_t)stretch;
    profile.method = strcmp(method, "order-statistic") == 0 ? AEGIS_BOUND_ORDER_STATISTIC
                     : strcmp(method, "evt") == 0           ? AEGIS_BOUND_EXTREME_VALUE
                                                            : AEGIS_BOUND_TOO_FEW_SAMPLES;
    memcpy(profile.key, key, sizeof profile.key);
    if (!segments_from_json(segments, &profile) ||
        !copy_from_json(json_object_get(root, "copy"), &profile)) {
        return false;
    }
    *ret_profile = profile;
    return true;
}

aegis_status
aegis_profile_load(const char *path, const char *key, aegis_profile *ret_profile, aegis_error *err)
{
    const aegis_allocator allocator = aegis_allocator_default();
    char *bytes = NULL;
    size_t size = 0;
    aegis_profile profile;
    json_error_t where;
    aegis_status status = aegis_file_read(path, (uint64_t)1 << 20, &allocator, &bytes, &size, err);
    if (status != AEGIS_OK) {
        return status;
    }
    json_t *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                                 "%s:%d:%d: %s; remove the file to profile again", path, where.line,
                                 where.column, where.text);
    } else if (!profile_from_json(root, &profile)) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                                 "%s is not a profile of this version; remove the file to profile "
                                 "again",
                                 path);
    } else if (strcmp(profile.key, key) != 0) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                                 "%s was measured under the key %.16s..., now it is %.16s...", path,
                                 profile.key, key);
    } else {
        *ret_profile = profile;
    }
    json_decref(root);
    aegis_file_free(&allocator, bytes, size);
    return status;
}
