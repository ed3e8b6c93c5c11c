/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/profile.h"

#include "backend/onnxruntime/cache.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMPONENT "backend.profile"
#define LARGEST_GRAPH ((UINT64_C(1) << 31) - 1)
#define NS_PER_US 1000u

typedef struct taking {
    const aegis_ort *ort;
    const aegis_ort_session_config *config;
    const aegis_surface *surface;
    unsigned runs;
    aegis_ort_profile *profile;
    char folder[1200];
} taking;

/* ---- the graph ---- */

static aegis_status read_graph(taking *t, aegis_error *err)
{
    aegis_ort_profile *profile = t->profile;
    const aegis_ort_compiled *compiled = t->config->compiled;
    char *bytes = NULL;
    size_t size = 0;
    aegis_status status = aegis_file_read(compiled->graph_path, LARGEST_GRAPH, &profile->allocator,
                                          &bytes, &size, err);
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_parse(bytes, size, compiled->graph_path, &profile->allocator,
                                        &profile->graph, err);
    }
    aegis_file_free(&profile->allocator, bytes, size);
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_flow(profile->graph, &profile->values, &profile->value_count,
                                       &profile->operators, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    profile->types = aegis_allocate_zeroed(&profile->allocator, profile->value_count + 1,
                                           sizeof *profile->types);
    profile->elapsed_ns = aegis_allocate_zeroed(&profile->allocator, (size_t)profile->operators + 1,
                                                sizeof *profile->elapsed_ns);
    return profile->types != NULL && profile->elapsed_ns != NULL
               ? AEGIS_OK
               : aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                 "no memory for a profile");
}

/* The graph once more, its operators named by their positions. */
static aegis_status write_named(taking *t, const char *path, aegis_error *err)
{
    void *bytes = NULL;
    size_t size = 0;
    aegis_status status = aegis_onnx_graph_name_operators(t->profile->graph, err);
    if (status == AEGIS_OK) {
        status = aegis_onnx_graph_serialise(t->profile->graph, &bytes, &size, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_file_write_atomic(path, bytes, size, err);
    }
    free(bytes);
    return status;
}

/* ---- runs ---- */

static OrtStatus *run_once(const taking *t,
                           const aegis_ort_session *session,
                           const char *const *names,
                           OrtValue **outputs)
{
    const OrtApi *api = t->ort->api;
    const aegis_ort_part *part = t->config->part;
    OrtStatus *native =
        api->Run(session->session, NULL, names,
                 (const OrtValue *const *)aegis_ort_session_values(session, 0, t->surface->parity),
                 part->input_count, names + part->input_count, part->output_count, outputs);
    for (size_t i = 0; i < part->output_count; i++) {
        if (outputs[i] != NULL) {
            api->ReleaseValue(outputs[i]);
            outputs[i] = NULL;
        }
    }
    return native;
}

static aegis_status run_all(const taking *t, const aegis_ort_session *session, aegis_error *err)
{
    const aegis_ort_part *part = t->config->part;
    const aegis_ort_compiled *compiled = t->config->compiled;
    const aegis_allocator *allocator = &t->profile->allocator;
    size_t count = part->input_count + part->output_count;
    const char **names = aegis_allocate_zeroed(allocator, count + 1, sizeof *names);
    OrtValue **outputs = aegis_allocate_zeroed(allocator, count + 1, sizeof(OrtValue *));
    aegis_status status = AEGIS_OK;
    if (names == NULL || outputs == NULL) {
        aegis_deallocate(allocator, (void *)names, count + 1, sizeof *names);
        aegis_deallocate(allocator, (void *)outputs, count + 1, sizeof(OrtValue *));
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for a profile");
    }
    for (size_t i = 0; i < count; i++) {
        const aegis_ort_operand *operand = &part->operands[i];
        names[i] = operand->role == AEGIS_ORT_ROLE_INPUT ? compiled->inputs[operand->index].name
                                                         : compiled->outputs[operand->index].name;
    }
    for (unsigned i = 0; status == AEGIS_OK && i <= t->runs; i++) {
        OrtStatus *native = run_once(t, session, names, outputs);
        if (native != NULL) {
            status = aegis_ort_error(t->ort, native, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INFERENCE,
                                     "the run to profile failed", err);
        }
    }
    aegis_deallocate(allocator, (void *)names, count + 1, sizeof *names);
    aegis_deallocate(allocator, (void *)outputs, count + 1, sizeof(OrtValue *));
    return status;
}

/* Also after a failure: the profiler's file must not stay. */
static aegis_status end_profile(const taking *t,
                                const aegis_ort_session *session,
                                char *ret_path,
                                size_t size,
                                aegis_error *err)
{
    const OrtApi *api = t->ort->api;
    OrtAllocator *allocator = NULL;
    char *path = NULL;
    OrtStatus *native = api->GetAllocatorWithDefaultOptions(&allocator);
    if (native == NULL) {
        native = api->SessionEndProfiling(session->session, allocator, &path);
    }
    if (native != NULL) {
        return aegis_ort_error(t->ort, native, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INFERENCE,
                               "cannot end the profile", err);
    }
    snprintf(ret_path, size, "%s", path);
    native = api->AllocatorFree(allocator, path);
    if (native != NULL) {
        api->ReleaseStatus(native);
    }
    return AEGIS_OK;
}

static aegis_status run_profiled(taking *t, char *ret_path, size_t size, aegis_error *err)
{
    char graph[1400], prefix[1400];
    aegis_ort_part part = *t->config->part;
    aegis_ort_session_config config = *t->config;
    aegis_ort_session session = {.ort = NULL};
    snprintf(graph, sizeof graph, "%s/" AEGIS_CACHE_GRAPH, t->folder);
    snprintf(prefix, sizeof prefix, "%s/profile", t->folder);
    part.path = graph;
    part.hash[0] = '\0';
    config.part = &part;
    config.context = NULL;
    config.profile = prefix;
    aegis_status status = write_named(t, graph, err);
    if (status == AEGIS_OK) {
        status = aegis_ort_session_create(t->ort, &config, &t->profile->allocator, &session, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    const aegis_ort_binding binding = {.part = &part, .surface = t->surface, .inputs_only = true};
    status = aegis_ort_session_bind(&session, &binding, err);
    if (status == AEGIS_OK) {
        status = run_all(t, &session, err);
    }
    aegis_status ended = end_profile(t, &session, ret_path, size, status == AEGIS_OK ? err : NULL);
    aegis_ort_session_finish(&session);
    return status != AEGIS_OK ? status : ended;
}

/* ---- reading it ---- */

static bool element_of(const char *text, aegis_element *ret_element)
{
    static const struct {
        const char *text;
        aegis_element element;
    } known[] = {
        {"float", AEGIS_ELEMENT_F32},     {"float16", AEGIS_ELEMENT_F16},
        {"bfloat16", AEGIS_ELEMENT_BF16}, {"double", AEGIS_ELEMENT_F64},
        {"int8", AEGIS_ELEMENT_I8},       {"uint8", AEGIS_ELEMENT_U8},
        {"int16", AEGIS_ELEMENT_I16},     {"uint16", AEGIS_ELEMENT_U16},
        {"int32", AEGIS_ELEMENT_I32},     {"uint32", AEGIS_ELEMENT_U32},
        {"int64", AEGIS_ELEMENT_I64},     {"uint64", AEGIS_ELEMENT_U64},
        {"bool", AEGIS_ELEMENT_BOOL},
    };
    for (size_t i = 0; text != NULL && i < AEGIS_ARRAY_LENGTH(known); i++) {
        if (strcmp(known[i].text, text) == 0) {
            *ret_element = known[i].element;
            return true;
        }
    }
    return false;
}

/* {"float": [1, 64, 112, 112]}. Leaves `info` alone when it is no tensor that can be planned. */
static void read_type(json_t *entry, aegis_tensor_info *info)
{
    aegis_tensor_info read = {.rank = 0};
    void *first = json_object_iter(entry);
    json_t *dims = first != NULL ? json_object_iter_value(first) : NULL;
    uint64_t elements, bytes;
    if (first == NULL || !element_of(json_object_iter_key(first), &read.element) ||
        !json_is_array(dims) || json_array_size(dims) > AEGIS_MAX_RANK) {
        return;
    }
    for (size_t i = 0; i < json_array_size(dims); i++) {
        read.shape[read.rank++] = (int64_t)json_integer_value(json_array_get(dims, i));
    }
    if (aegis_shape_elements(read.shape, read.rank, &elements) && elements > 0 &&
        !__builtin_mul_overflow(elements, aegis_element_bytes(read.element), &bytes)) {
        read.size_bytes = bytes;
        read.name = info->name;
        *info = read;
    }
}

/* The runtime lists the outputs that are tensors; only when these are all is it known which. */
static void read_types(aegis_ort_profile *profile, uint32_t index, json_t *event)
{
    json_t *list = json_object_get(json_object_get(event, "args"), "output_type_shape");
    size_t outputs = aegis_onnx_graph_operator_outputs(profile->graph, index);
    size_t value = 0;
    if (json_array_size(list) != outputs) {
        return;
    }
    while (value < profile->value_count && profile->values[value].born < index) {
        value++;
    }
    for (size_t i = 0; i < outputs && value + i < profile->value_count; i++) {
        read_type(json_array_get(list, i), &profile->types[value + i]);
    }
}

/* "aegis-operator-12_kernel_time" */
static bool operator_of(json_t *event, uint32_t operators, uint32_t *ret_index)
{
    const char *name = json_string_value(json_object_get(event, "name"));
    size_t prefix = strlen(AEGIS_ONNX_OPERATOR_NAME);
    char *end = NULL;
    if (name == NULL || strncmp(name, AEGIS_ONNX_OPERATOR_NAME, prefix) != 0) {
        return false;
    }
    unsigned long index = strtoul(name + prefix, &end, 10);
    if (end == name + prefix || strcmp(end, "_kernel_time") != 0 || index >= operators) {
        return false;
    }
    *ret_index = (uint32_t)index;
    return true;
}

/* `times`: a row of operators for each run, the first one warms up. */
static void read_events(taking *t, json_t *root, uint32_t *times, uint32_t *seen)
{
    aegis_ort_profile *profile = t->profile;
    for (size_t i = 0; i < json_array_size(root); i++) {
        uint32_t index;
        json_t *event = json_array_get(root, i);
        if (!operator_of(event, profile->operators, &index) || seen[index] > t->runs) {
            continue;
        }
        uint32_t run = seen[index]++;
        json_int_t us = json_integer_value(json_object_get(event, "dur"));
        if (run == 0) {
            read_types(profile, index, event);
        } else {
            times[(size_t)(run - 1) * profile->operators + index] = us > 0 ? (uint32_t)us : 0;
        }
    }
}

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sums first, median then: the median of sums is what a run that is cut there would show. */
static void sum_up(const taking *t, const uint32_t *times, uint64_t *sums, uint64_t *sorted)
{
    aegis_ort_profile *profile = t->profile;
    memset(sums, 0, t->runs * sizeof *sums);
    for (uint32_t p = 1; p <= profile->operators; p++) {
        for (unsigned run = 0; run < t->runs; run++) {
            sums[run] += times[(size_t)run * profile->operators + p - 1];
        }
        memcpy(sorted, sums, t->runs * sizeof *sums);
        qsort(sorted, t->runs, sizeof *sorted, compare_times);
        uint64_t median = sorted[t->runs / 2] * NS_PER_US;
        /* Medians of different runs could fall back. */
        uint64_t before = profile->elapsed_ns[p - 1];
        profile->elapsed_ns[p] = median > before ? median : before;
    }
}

static aegis_status read_profile(taking *t, const char *path, aegis_error *err)
{
    aegis_ort_profile *profile = t->profile;
    const aegis_allocator *allocator = &profile->allocator;
    size_t operators = profile->operators, cells = operators * t->runs + 1;
    json_error_t where;
    aegis_status status = AEGIS_OK;
    json_t *root = json_load_file(path, 0, &where);
    if (!json_is_array(root)) {
        json_decref(root);
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INFERENCE,
                               "ONNX Runtime's profile cannot be read: line %d: %s", where.line,
                               where.text);
    }
    uint32_t *times = aegis_allocate_zeroed(allocator, cells, sizeof *times);
    uint32_t *seen = aegis_allocate_zeroed(allocator, operators + 1, sizeof *seen);
    uint64_t *sums = aegis_allocate_zeroed(allocator, t->runs, sizeof *sums);
    uint64_t *sorted = aegis_allocate_zeroed(allocator, t->runs, sizeof *sorted);
    if (times == NULL || seen == NULL || sums == NULL || sorted == NULL) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                 "no memory for a profile");
    } else {
        read_events(t, root, times, seen);
        sum_up(t, times, sums, sorted);
    }
    json_decref(root);
    aegis_deallocate(allocator, times, cells, sizeof *times);
    aegis_deallocate(allocator, seen, operators + 1, sizeof *seen);
    aegis_deallocate(allocator, sums, t->runs, sizeof *sums);
    aegis_deallocate(allocator, sorted, t->runs, sizeof *sorted);
    return status;
}

/* ---- all of it ---- */

static aegis_status take(taking *t, aegis_error *err)
{
    char path[1600] = "";
    aegis_status status = read_graph(t, err);
    if (status != AEGIS_OK) {
        return status;
    }
    snprintf(t->folder, sizeof t->folder, "%s/.profile-XXXXXX", t->config->compiled->folder);
    if (mkdtemp(t->folder) == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO,
                               "cannot make a folder in %s", t->config->compiled->folder);
    }
    status = run_profiled(t, path, sizeof path, err);
    if (status == AEGIS_OK) {
        status = read_profile(t, path, err);
    }
    if (path[0] != '\0') {
        unlink(path);
    }
    aegis_cache_remove(t->folder);
    return status;
}

aegis_status aegis_ort_profile_take(const aegis_ort *ort,
                                    const aegis_ort_session_config *config,
                                    const aegis_surface *surface,
                                    unsigned runs,
                                    const aegis_allocator *allocator,
                                    aegis_ort_profile *ret_profile,
                                    aegis_error *err)
{
    aegis_ort_profile profile = {.allocator = *allocator};
    taking t = {.ort = ort,
                .config = config,
                .surface = surface,
                .runs = runs == 0 ? 1 : runs,
                .profile = &profile};
    aegis_status status = take(&t, err);
    if (status != AEGIS_OK) {
        aegis_ort_profile_finish(&profile);
        return status;
    }
    *ret_profile = profile;
    return AEGIS_OK;
}

void aegis_ort_profile_finish(aegis_ort_profile *profile)
{
    const aegis_allocator *allocator = &profile->allocator;
    if (allocator->free == NULL) {
        return;
    }
    aegis_onnx_graph_destroy(profile->graph);
    aegis_deallocate(allocator, profile->values, profile->value_count + 1, sizeof *profile->values);
    aegis_deallocate(allocator, profile->types, profile->value_count + 1, sizeof *profile->types);
    aegis_deallocate(allocator, profile->elapsed_ns, (size_t)profile->operators + 1,
                     sizeof *profile->elapsed_ns);
    memset(profile, 0, sizeof *profile);
}
