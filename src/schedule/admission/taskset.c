/* SPDX-License-Identifier: Apache-2.0 */
/* Task set files. Every refusal names file, line, column, key and cure. */
#include "schedule/admission/position.h"

#include "base/base.h"

#include <aegisrt/admission.h>

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LARGEST_FILE (UINT64_C(16) << 20)
#define NAME_BYTES 32

struct aegis_taskset {
    aegis_allocator allocator;
    aegis_analysis policy;
    aegis_task *tasks; /* names and segments are owned too */
    size_t count, room;
};

static const char *const set_keys[] = {"policy", "tasks"};
static const char *const task_keys[] = {"name", "C", "T", "D", "J", "segments"};

typedef struct reader {
    aegis_json_text json;
    const char *origin;
    json_t *names; /* seen so far */
    aegis_taskset *set;
    aegis_error *err;
} reader;

static aegis_status complain(const reader *in, size_t offset, const char *format, ...)
    AEGIS_PRINTF(3, 4);

static aegis_status complain(const reader *in, size_t offset, const char *format, ...)
{
    char text[AEGIS_ERROR_MESSAGE_BYTES];
    size_t line, column;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    aegis_json_line_column(in->json, offset, &line, &column);
    return aegis_error_set(in->err, AEGIS_HERE("schedule.taskset"), AEGIS_ERROR_CONFIG,
                           "%s:%zu:%zu: %s", in->origin, line, column, text);
}

static aegis_status out_of_memory(const reader *in)
{
    return aegis_error_set(in->err, AEGIS_HERE("schedule.taskset"), AEGIS_ERROR_NO_MEMORY,
                           "no memory for the task set %s", in->origin);
}

static aegis_status
check_keys(const reader *in, json_t *object, size_t offset, const char *const *keys, size_t count)
{
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        const char *key = json_object_iter_key(at);
        bool known = false;
        for (size_t i = 0; i < count; i++) {
            known = known || strcmp(key, keys[i]) == 0;
        }
        if (!known) {
            const char *nearest = aegis_nearest_word(key, keys, count);
            return complain(in, aegis_json_key(in->json, offset, key), "unknown key \"%s\"%s%s%s",
                            key, nearest == NULL ? ": remove it" : ": did you mean \"",
                            nearest == NULL ? "" : nearest, nearest == NULL ? "" : "\"?");
        }
    }
    return AEGIS_OK;
}

static bool is_integer_from(const json_t *value, int64_t least)
{
    return json_typeof(value) == JSON_INTEGER && json_integer_value(value) >= least;
}

/* An integer member. Without it: `otherwise`, or a complaint where that is below `least`. */
static aegis_status read_integer(const reader *in,
                                 json_t *object,
                                 size_t offset,
                                 const char *key,
                                 int64_t least,
                                 int64_t otherwise,
                                 int64_t *ret_value)
{
    json_t *value = json_object_get(object, key);
    if (value == NULL && otherwise < least) {
        return complain(in, offset, "key \"%s\" is missing: give it in integer ticks", key);
    }
    if (value != NULL && !is_integer_from(value, least)) {
        return complain(in, aegis_json_member(in->json, offset, key),
                        "\"%s\" must be an integer of at least %" PRId64
                        ", without quotes or decimal point",
                        key, least);
    }
    *ret_value = value == NULL ? otherwise : json_integer_value(value);
    return AEGIS_OK;
}

static aegis_status read_name(reader *in, json_t *object, size_t offset, aegis_task *task)
{
    char automatic[NAME_BYTES];
    json_t *value = json_object_get(object, "name");
    const char *name = automatic;
    snprintf(automatic, sizeof automatic, "task-%zu", in->set->count);
    if (value != NULL) {
        offset = aegis_json_member(in->json, offset, "name");
        name = json_string_value(value);
        if (name == NULL || name[0] == '\0') {
            return complain(in, offset, "\"name\" must be a text that is not empty");
        }
    }
    if (json_object_get(in->names, name) != NULL) {
        return complain(in, offset, "the name \"%s\" is taken by an earlier task: give another",
                        name);
    }
    task->name = aegis_copy_text(&in->set->allocator, name);
    if (task->name == NULL || json_object_set_new(in->names, name, json_true()) != 0) {
        return out_of_memory(in);
    }
    return AEGIS_OK;
}

static aegis_status read_segments(reader *in, json_t *object, size_t offset, aegis_task *task)
{
    json_t *value = json_object_get(object, "segments");
    size_t count = json_array_size(value), place = aegis_json_member(in->json, offset, "segments");
    if (value == NULL) {
        return AEGIS_OK;
    }
    if (count == 0) {
        return complain(in, place, "\"segments\" must be an array of integers summing to C");
    }
    int64_t *segments = aegis_allocate_zeroed(&in->set->allocator, count, sizeof *segments);
    if (segments == NULL) {
        return out_of_memory(in);
    }
    task->segments = segments;
    task->segment_count = count;
    int64_t left = task->execution;
    for (size_t i = 0; i < count; i++) {
        json_t *element = json_array_get(value, i);
        if (!is_integer_from(element, 1)) {
            return complain(in, aegis_json_element(in->json, place, i),
                            "segment %zu must be an integer of at least 1", i);
        }
        segments[i] = json_integer_value(element);
        if (segments[i] > left) {
            return complain(in, aegis_json_element(in->json, place, i),
                            "the segments sum to more than C = %" PRId64
                            ": shorten them or raise \"C\"",
                            task->execution);
        }
        left -= segments[i];
    }
    if (left != 0) {
        return complain(in, place,
                        "the segments sum to %" PRId64 ", but C is %" PRId64 ": make them equal",
                        task->execution - left, task->execution);
    }
    return AEGIS_OK;
}

static aegis_status read_task(reader *in, json_t *object, size_t offset)
{
    aegis_task *task = &in->set->tasks[in->set->count];
    if (!json_is_object(object)) {
        return complain(in, offset, "a task must be an object like {\"C\": 4, \"T\": 15}");
    }
    aegis_status status = check_keys(in, object, offset, task_keys, AEGIS_ARRAY_LENGTH(task_keys));
    if (status == AEGIS_OK) {
        status = read_integer(in, object, offset, "C", 1, 0, &task->execution);
    }
    if (status == AEGIS_OK) {
        status = read_integer(in, object, offset, "T", 1, 0, &task->period);
    }
    if (status == AEGIS_OK) {
        status = read_integer(in, object, offset, "D", 1, task->period, &task->deadline);
    }
    if (status == AEGIS_OK) {
        status = read_integer(in, object, offset, "J", 0, 0, &task->jitter);
    }
    if (status == AEGIS_OK) {
        status = read_name(in, object, offset, task);
    }
    return status == AEGIS_OK ? read_segments(in, object, offset, task) : status;
}

static aegis_status read_policy(reader *in, json_t *root, size_t offset)
{
    json_t *value = json_object_get(root, "policy");
    const char *name = json_string_value(value);
    aegis_error cause;
    if (name == NULL) {
        return complain(in, value == NULL ? offset : aegis_json_member(in->json, offset, "policy"),
                        "\"policy\" must be one of \"np-fp\", \"np-edf\", \"fp\", \"edf\", "
                        "\"fpp\", \"fifo\"");
    }
    if (aegis_analysis_parse(name, &in->set->policy, &cause) != AEGIS_OK) {
        return complain(in, aegis_json_member(in->json, offset, "policy"), "\"policy\": %.400s",
                        cause.message);
    }
    return AEGIS_OK;
}

static aegis_status read_tasks(reader *in, json_t *root, size_t offset)
{
    json_t *value = json_object_get(root, "tasks");
    size_t count = json_array_size(value), place = aegis_json_member(in->json, offset, "tasks");
    if (count == 0) {
        return complain(in, place,
                        "\"tasks\" must be an array with at least one task like {\"C\": 4, "
                        "\"T\": 15}");
    }
    in->set->tasks = aegis_allocate_zeroed(&in->set->allocator, count, sizeof *in->set->tasks);
    if (in->set->tasks == NULL) {
        return out_of_memory(in);
    }
    in->set->room = count;
    aegis_status status = AEGIS_OK;
    place = aegis_json_element(in->json, place, 0);
    for (size_t i = 0; i < count && status == AEGIS_OK; i++) {
        status = read_task(in, json_array_get(value, i), place);
        in->set->count++; /* a half-read task has things to free too */
        place = aegis_json_following(in->json, place);
    }
    return status;
}

static aegis_status read_set(reader *in, json_t *root, size_t offset)
{
    if (!json_is_object(root)) {
        return complain(in, offset,
                        "a task set must be an object like {\"policy\": \"np-edf\", \"tasks\": "
                        "[{\"C\": 4, \"T\": 15}]}");
    }
    aegis_status status = check_keys(in, root, offset, set_keys, AEGIS_ARRAY_LENGTH(set_keys));
    if (status == AEGIS_OK) {
        status = read_policy(in, root, offset);
    }
    return status == AEGIS_OK ? read_tasks(in, root, offset) : status;
}

static aegis_status read_root(json_t *root,
                              aegis_json_text json,
                              const char *origin,
                              const aegis_allocator *allocator,
                              aegis_taskset **ret_taskset,
                              aegis_error *err)
{
    reader in = {.json = json, .origin = origin, .names = json_object(), .err = err};
    aegis_status status = AEGIS_OK;
    in.set = aegis_allocate_zeroed(allocator, 1, sizeof *in.set);
    if (in.set == NULL || in.names == NULL) {
        status = out_of_memory(&in);
    } else {
        in.set->allocator = *allocator;
        status = read_set(&in, root, aegis_json_root(json));
    }
    json_decref(in.names);
    if (status != AEGIS_OK) {
        if (in.set != NULL) {
            in.set->allocator = *allocator;
        }
        aegis_taskset_destroy(in.set);
        return status;
    }
    *ret_taskset = in.set;
    return AEGIS_OK;
}

aegis_status aegis_taskset_parse(const char *text,
                                 size_t size,
                                 const char *origin,
                                 const aegis_allocator *allocator,
                                 aegis_taskset **ret_taskset,
                                 aegis_error *err)
{
    json_error_t problem;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    if (root == NULL) {
        return aegis_error_set(err, AEGIS_HERE("schedule.taskset"), AEGIS_ERROR_PARSE,
                               "%s:%d:%d: not JSON: %s", origin,
                               problem.line < 1 ? 1 : problem.line,
                               problem.column < 1 ? 1 : problem.column, problem.text);
    }
    const aegis_json_text json = {text, size};
    aegis_status status = read_root(root, json, origin, allocator, ret_taskset, err);
    json_decref(root);
    return status;
}

aegis_status aegis_taskset_load(const char *path,
                                const aegis_allocator *allocator,
                                aegis_taskset **ret_taskset,
                                aegis_error *err)
{
    char *bytes;
    size_t size;
    aegis_status status = aegis_file_read(path, LARGEST_FILE, allocator, &bytes, &size, err);
    if (status == AEGIS_OK) {
        status = aegis_taskset_parse(bytes, size, path, allocator, ret_taskset, err);
        aegis_file_free(allocator, bytes, size);
    }
    return status;
}

void aegis_taskset_destroy(aegis_taskset *taskset)
{
    if (taskset == NULL) {
        return;
    }
    aegis_allocator allocator = taskset->allocator;
    for (size_t i = 0; i < taskset->count; i++) {
        aegis_task *task = &taskset->tasks[i];
        aegis_free_text(&allocator, (char *)(uintptr_t)task->name);
        aegis_deallocate(&allocator, (void *)(uintptr_t)task->segments, task->segment_count,
                         sizeof *task->segments);
    }
    aegis_deallocate(&allocator, taskset->tasks, taskset->room, sizeof *taskset->tasks);
    aegis_deallocate(&allocator, taskset, 1, sizeof *taskset);
}

aegis_analysis aegis_taskset_policy(const aegis_taskset *taskset)
{
    return taskset->policy;
}

const aegis_task *aegis_taskset_tasks(const aegis_taskset *taskset, size_t *ret_count)
{
    *ret_count = taskset->count;
    return taskset->tasks;
}
