/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates to JSON, and from and to files. */
#include "schedule/certificate/internal.h"

#include "base/base.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "schedule.certificate"
#define LARGEST_FILE (UINT64_C(64) << 20)

bool aegis_certificate_has_levels(aegis_analysis policy)
{
    return policy == AEGIS_ANALYSIS_NP_FP || policy == AEGIS_ANALYSIS_FP ||
           policy == AEGIS_ANALYSIS_FPP;
}

void aegis_certificate_finish(aegis_certificate *c, const aegis_allocator *allocator)
{
    for (size_t i = 0; c->responses != NULL && i < c->count; i++) {
        aegis_response_proof *proof = &c->responses[i];
        aegis_certificate_witness *set = &proof->reached;
        aegis_deallocate(allocator, proof->points, proof->room, sizeof *proof->points);
        aegis_deallocate(allocator, set->jobs, set->room, sizeof *set->jobs);
    }
    aegis_deallocate(allocator, c->responses, c->count, sizeof *c->responses);
    aegis_deallocate(allocator, c->demand, c->demand_room, sizeof *c->demand);
    aegis_deallocate(allocator, c->miss.jobs, c->miss.room, sizeof *c->miss.jobs);
    *c = (aegis_certificate){.count = 0};
}

/* Both give NULL when memory is short, and take NULL. */
static json_t *put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) == 0) {
        return object;
    }
    json_decref(object);
    return NULL;
}

static json_t *append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) == 0) {
        return array;
    }
    json_decref(array);
    return NULL;
}

static json_t *numbers(const int64_t *values, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        array = append(array, json_integer(values[i]));
    }
    return array;
}

typedef enum column {
    COLUMN_T,
    COLUMN_D,
    COLUMN_J,
    COLUMN_RESPONSE,
    COLUMN_BUSY
} column;

static int64_t entry(const aegis_certificate *c, size_t i, column which)
{
    switch (which) {
    case COLUMN_T:
        return c->tasks[i].period;
    case COLUMN_D:
        return c->tasks[i].deadline;
    case COLUMN_J:
        return c->tasks[i].jitter;
    case COLUMN_RESPONSE:
        return c->responses[i].response;
    case COLUMN_BUSY:
        break;
    }
    return c->responses[i].busy;
}

/* One number a task. */
static json_t *encode_column(const aegis_certificate *c, column which)
{
    json_t *array = json_array();
    for (size_t i = 0; i < c->count; i++) {
        array = append(array, json_integer(entry(c, i, which)));
    }
    return array;
}

/* Of each task the segments that its C consists of. */
static json_t *encode_segments(const aegis_certificate *c)
{
    bool cuts = c->policy == AEGIS_ANALYSIS_FPP || c->policy == AEGIS_ANALYSIS_NP_EDF;
    json_t *array = json_array();
    for (size_t i = 0; i < c->count; i++) {
        const aegis_task *task = &c->tasks[i];
        bool cut = cuts && task->segments != NULL;
        array = append(
            array, numbers(cut ? task->segments : &task->execution, cut ? task->segment_count : 1));
    }
    return array;
}

static json_t *encode_tasks(const aegis_certificate *c, json_t *root)
{
    json_t *names = json_array();
    for (size_t i = 0; i < c->count; i++) {
        names = append(names, json_string(c->tasks[i].name == NULL ? "" : c->tasks[i].name));
    }
    root = put(root, "policy", json_string(aegis_analysis_name(c->policy)));
    root = put(root, "names", names);
    root = put(root, "C", encode_segments(c));
    root = put(root, "T", encode_column(c, COLUMN_T));
    root = put(root, "D", encode_column(c, COLUMN_D));
    return put(root, "J", encode_column(c, COLUMN_J));
}

static json_t *encode_witness(const aegis_certificate_witness *set)
{
    json_t *array = json_array();
    for (const aegis_certificate_job *job = set->jobs; job < set->jobs + set->count; job++) {
        array = append(array, json_integer((json_int_t)job->task));
        array = append(array, json_integer(job->nominal));
        array = append(array, json_integer(job->ready));
    }
    return array;
}

/* The jobs given for the responses; for that of task `only`, if not SIZE_MAX. */
static json_t *encode_reached(const aegis_certificate *c, size_t only)
{
    const aegis_certificate_witness none = {.count = 0};
    json_t *array = json_array();
    for (size_t i = 0; i < c->count; i++) {
        bool left_out = only != SIZE_MAX && i != only;
        array = append(array, encode_witness(left_out ? &none : &c->responses[i].reached));
    }
    return array;
}

static json_t *encode_responses(const aegis_certificate *c, json_t *root)
{
    json_t *points = json_array();
    for (size_t i = 0; i < c->count; i++) {
        for (size_t n = 0; n < c->responses[i].point_count; n++) {
            points = append(points, json_integer(c->responses[i].points[n]));
        }
    }
    if (!aegis_certificate_has_levels(c->policy)) {
        json_decref(points);
        return put(root, "end", json_integer(c->busy));
    }
    root = put(root, "busy", encode_column(c, COLUMN_BUSY));
    root = put(root, "fixed_points", json_integer(c->fixed_points));
    return put(root, "points", points);
}

static json_t *encode_proof(const aegis_certificate *c, json_t *root)
{
    switch (c->kind) {
    case AEGIS_PROOF_RESPONSES:
    case AEGIS_PROOF_REACHED:
        return root;
    case AEGIS_PROOF_DEMAND:
        root = put(root, "demand", numbers(c->demand, 2 * c->demand_count));
        /* fallthrough */
    case AEGIS_PROOF_QUEUE:
        root = put(root, "horizon", json_integer(c->horizon));
        return put(root, "instants", json_integer(c->instants));
    case AEGIS_PROOF_MISS:
        return put(root, "miss", encode_witness(&c->miss));
    case AEGIS_PROOF_BOUND:
        root = put(root, "task", json_integer((json_int_t)c->task));
        root = put(root, "at", json_integer(c->at));
        return put(root, "bound", json_integer(c->bound));
    case AEGIS_PROOF_NO_END:
        root = put(root, "tasks", json_integer((json_int_t)c->task));
        break;
    case AEGIS_PROOF_OVERLOAD:
        break;
    }
    return put(root, "multiple", json_integer(c->multiple));
}

/* Of the argument only that the jobs for the response of task `reached` have it; SIZE_MAX: all. */
static aegis_status encode(const aegis_certificate *c,
                           size_t reached,
                           const aegis_allocator *allocator,
                           char **ret_text,
                           size_t *ret_size,
                           aegis_error *err)
{
    static const char *const kinds[] = {
        [AEGIS_PROOF_RESPONSES] = "responses", [AEGIS_PROOF_DEMAND] = "demand",
        [AEGIS_PROOF_QUEUE] = "queue",         [AEGIS_PROOF_MISS] = "miss",
        [AEGIS_PROOF_OVERLOAD] = "overload",   [AEGIS_PROOF_NO_END] = "no-end",
        [AEGIS_PROOF_BOUND] = "bound",         [AEGIS_PROOF_REACHED] = "reached"};
    aegis_proof_kind kind = reached == SIZE_MAX ? c->kind : AEGIS_PROOF_REACHED;
    json_t *root = put(json_object(), "schema_version", json_integer(4));
    root = put(root, "what", json_string("aegisrt-certificate"));
    root = encode_tasks(c, root);
    root = put(root, "verdict",
               json_string(kind == AEGIS_PROOF_REACHED    ? "none"
                           : kind <= AEGIS_PROOF_QUEUE    ? "schedulable"
                           : kind <= AEGIS_PROOF_OVERLOAD ? "not-schedulable"
                                                          : "refused"));
    root = put(root, "proof", json_string(kinds[kind]));
    if (reached == SIZE_MAX) {
        root = encode_proof(c, root);
    }
    if (c->responses != NULL) {
        root = put(root, "response", encode_column(c, COLUMN_RESPONSE));
        root = put(root, "reached", encode_reached(c, reached));
        root = reached == SIZE_MAX ? encode_responses(c, root) : root;
    }
    char *made = root == NULL ? NULL : json_dumps(root, JSON_COMPACT);
    char *text = made == NULL ? NULL : aegis_copy_text(allocator, made);
    free(made);
    json_decref(root);
    if (text == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to write the certificate");
    }
    *ret_text = text;
    *ret_size = strlen(text);
    return AEGIS_OK;
}

bool aegis_certificate_holds(const aegis_certificate *c,
                             size_t reached,
                             const aegis_allocator *allocator)
{
    aegis_certificate_report report = {.holds = false};
    char *text = NULL;
    size_t size = 0;
    if (encode(c, reached, allocator, &text, &size, NULL) != AEGIS_OK) {
        return false;
    }
    aegis_certificate_verify(text, size, "the candidate", 0, allocator, &report, NULL);
    aegis_certificate_free(text, size, allocator);
    return report.holds;
}

/* What leaves here has been read and checked as a stranger would. */
static aegis_status
check_text(const char *text, size_t size, const aegis_allocator *allocator, aegis_error *err)
{
    aegis_certificate_report report;
    aegis_status status =
        aegis_certificate_verify(text, size, "the certificate", 0, allocator, &report, err);
    if (status == AEGIS_OK && !report.holds) {
        status =
            aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INTERNAL,
                            "the certificate does not prove the verdict: %s", report.statement);
    }
    return status;
}

aegis_status aegis_certificate_build(aegis_analysis analysis,
                                     const aegis_task *tasks,
                                     size_t count,
                                     const aegis_admission_result *result,
                                     const aegis_admission_limits *limits,
                                     const aegis_allocator *allocator,
                                     char **ret_text,
                                     size_t *ret_size,
                                     aegis_error *err)
{
    aegis_certificate certificate = {.policy = analysis, .tasks = tasks, .count = count};
    char *text = NULL;
    size_t size = 0;
    if (count == 0 || result->task_count != count) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "a certificate needs tasks and the result of their test");
    }
    aegis_status status = aegis_certificate_prove(&certificate, result, limits, allocator, err);
    if (status == AEGIS_OK) {
        status = encode(&certificate, SIZE_MAX, allocator, &text, &size, err);
    }
    aegis_certificate_finish(&certificate, allocator);
    if (status == AEGIS_OK) {
        status = check_text(text, size, allocator, err);
    }
    if (status != AEGIS_OK) {
        aegis_certificate_free(text, size, allocator);
        return status;
    }
    *ret_text = text;
    *ret_size = size;
    return AEGIS_OK;
}

void aegis_certificate_free(char *text, size_t size, const aegis_allocator *allocator)
{
    aegis_deallocate(allocator, text, size + 1, 1);
}

aegis_status aegis_certificate_save(const char *path,
                                    aegis_analysis analysis,
                                    const aegis_task *tasks,
                                    size_t count,
                                    const aegis_admission_result *result,
                                    const aegis_admission_limits *limits,
                                    const aegis_allocator *allocator,
                                    aegis_error *err)
{
    char *text = NULL;
    size_t size = 0;
    aegis_status status = aegis_certificate_build(analysis, tasks, count, result, limits, allocator,
                                                  &text, &size, err);
    if (status == AEGIS_OK) {
        status = aegis_file_write_atomic(path, text, size, err);
        aegis_certificate_free(text, size, allocator);
    }
    return status;
}

aegis_status aegis_certificate_verify_file(const char *path,
                                           uint64_t steps,
                                           const aegis_allocator *allocator,
                                           aegis_certificate_report *ret_report,
                                           aegis_error *err)
{
    char *bytes;
    size_t size;
    aegis_status status = aegis_file_read(path, LARGEST_FILE, allocator, &bytes, &size, err);
    if (status == AEGIS_OK) {
        status = aegis_certificate_verify(bytes, size, path, steps, allocator, ret_report, err);
        aegis_file_free(allocator, bytes, size);
    }
    return status;
}
