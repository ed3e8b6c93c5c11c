/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates to JSON. */
#include "schedule/certificate/internal.h"

#include "base/base.h"

#include <stdlib.h>
#include <string.h>

#define COMPONENT "schedule.certificate"

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

static json_t *encode_task(const aegis_task *task)
{
    json_t *object = json_object();
    if (task->name != NULL) {
        object = put(object, "name", json_string(task->name));
    }
    object = put(object, "C", json_integer(task->execution));
    object = put(object, "T", json_integer(task->period));
    object = put(object, "D", json_integer(task->deadline));
    object = put(object, "J", json_integer(task->jitter));
    if (task->segments != NULL) {
        object = put(object, "segments", numbers(task->segments, task->segment_count));
    }
    return object;
}

static json_t *encode_taskset(const aegis_certificate *c)
{
    json_t *tasks = json_array(), *object = json_object();
    for (size_t i = 0; i < c->count; i++) {
        tasks = append(tasks, encode_task(&c->tasks[i]));
    }
    object = put(object, "policy", json_string(aegis_analysis_name(c->policy)));
    return put(object, "tasks", tasks);
}

/* The jobs, and what blocks them, put into `object`. */
static json_t *encode_witness(const aegis_certificate_witness *set, json_t *object)
{
    json_t *array = json_array();
    for (size_t n = 0; n < set->count; n++) {
        const int64_t job[] = {(int64_t)set->jobs[n].task, set->jobs[n].nominal,
                               set->jobs[n].ready};
        array = append(array, numbers(job, AEGIS_ARRAY_LENGTH(job)));
    }
    if (set->blocked) {
        json_t *blocker = put(json_object(), "task", json_integer((json_int_t)set->blocker));
        blocker = put(blocker, "segment", json_integer((json_int_t)set->segment));
        object = put(object, "blocker", blocker);
    }
    return put(object, "jobs", array);
}

static json_t *encode_response(const aegis_certificate *c, const aegis_response_proof *proof)
{
    json_t *object = json_object();
    if (proof->response < 0) {
        json_decref(object);
        return json_null();
    }
    if (aegis_certificate_has_levels(c->policy)) {
        object = put(object, "blocking", json_integer(proof->blocking));
        object = put(object, "busy", json_integer(proof->busy));
        object = put(object, "points", numbers(proof->points, proof->point_count));
    }
    object = put(object, "response", json_integer(proof->response));
    if (proof->reached.count > 0) {
        json_t *reached = encode_witness(&proof->reached, json_object());
        reached = put(reached, "job", json_integer((json_int_t)proof->reached.job));
        object = put(object, "reached", reached);
    }
    return object;
}

static json_t *encode_responses(const aegis_certificate *c)
{
    json_t *array = json_array();
    for (size_t i = 0; i < c->count; i++) {
        array = append(array, encode_response(c, &c->responses[i]));
    }
    return array;
}

static json_t *encode_demand(const aegis_certificate *c, json_t *proof)
{
    json_t *array = json_array();
    for (size_t n = 0; n < c->demand_count; n++) {
        array = append(array, numbers(&c->demand[2 * n], 2));
    }
    proof = put(proof, "rule", json_string(aegis_horizon_rule_name(c->rule)));
    proof = put(proof, "horizon", json_integer(c->horizon));
    proof = put(proof, "instants", json_integer(c->instants));
    return put(proof, "demand", array);
}

static json_t *encode_miss(const aegis_certificate *c, json_t *proof)
{
    bool edf = c->policy == AEGIS_ANALYSIS_EDF || c->policy == AEGIS_ANALYSIS_NP_EDF;
    proof = encode_witness(&c->miss, proof);
    if (edf) {
        proof = put(proof, "instant", json_integer(c->instant));
        return put(proof, "demand", json_integer(c->total));
    }
    proof = put(proof, "missed", json_integer((json_int_t)c->miss.job));
    return put(proof, "completion", json_integer(c->completion));
}

static json_t *encode_proof(const aegis_certificate *c)
{
    json_t *proof = put(json_object(), "kind", json_string(aegis_proof_kind_name(c->kind)));
    switch (c->kind) {
    case AEGIS_PROOF_RESPONSES:
        return put(proof, "tasks", encode_responses(c));
    case AEGIS_PROOF_DEMAND:
        return encode_demand(c, proof);
    case AEGIS_PROOF_QUEUE:
        proof = put(proof, "horizon", json_integer(c->horizon));
        proof = put(proof, "instants", json_integer(c->instants));
        return put(proof, "longest", json_integer(c->longest));
    case AEGIS_PROOF_MISS:
        return encode_miss(c, proof);
    case AEGIS_PROOF_BOUND:
        proof = put(proof, "task", json_integer((json_int_t)c->task));
        proof = put(proof, "at", json_integer(c->at));
        return put(proof, "bound", json_integer(c->bound));
    case AEGIS_PROOF_OVERLOAD:
    case AEGIS_PROOF_NO_END:
        break;
    }
    return put(proof, "tasks", json_integer((json_int_t)c->task));
}

static aegis_status encode(const aegis_certificate *c,
                           const aegis_allocator *allocator,
                           char **ret_text,
                           size_t *ret_size,
                           aegis_error *err)
{
    const char *verdict = aegis_proof_accepts(c->kind) ? "schedulable" : "not-schedulable";
    json_t *root = put(json_object(), "schema_version", json_integer(2));
    root = put(root, "what", json_string("aegisrt-certificate"));
    root = put(root, "taskset", encode_taskset(c));
    root = put(root, "verdict", json_string(verdict));
    root = put(root, "proof", encode_proof(c));
    if (c->responses != NULL && c->kind != AEGIS_PROOF_RESPONSES) {
        json_t *responses = json_object();
        if (!aegis_certificate_has_levels(c->policy)) {
            responses = put(responses, "busy", json_integer(c->busy));
        }
        root = put(root, "responses", put(responses, "tasks", encode_responses(c)));
    }
    char *made = root == NULL ? NULL : json_dumps(root, JSON_INDENT(1));
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
        status = encode(&certificate, allocator, &text, &size, err);
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
