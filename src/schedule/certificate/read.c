/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates from JSON. Every refusal names file, line, column, key and cure. */
#include "schedule/certificate/internal.h"

#include "base/base.h"
#include "schedule/admission/taskset.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define COMPONENT "schedule.certificate"
#define LARGEST_FILE (UINT64_C(64) << 20)

static const char *const kinds[] = {
    [AEGIS_PROOF_RESPONSES] = "responses", [AEGIS_PROOF_DEMAND] = "demand",
    [AEGIS_PROOF_QUEUE] = "queue",         [AEGIS_PROOF_MISS] = "miss",
    [AEGIS_PROOF_OVERLOAD] = "overload",   [AEGIS_PROOF_NO_END] = "no-end",
    [AEGIS_PROOF_BOUND] = "bound"};

static const char *const rules[] = {
    [AEGIS_HORIZON_BUSY] = "busy-period", [AEGIS_HORIZON_PERIODIC] = "hyperperiod"};

const char *aegis_proof_kind_name(aegis_proof_kind kind)
{
    return kinds[kind];
}

const char *aegis_horizon_rule_name(aegis_horizon_rule rule)
{
    return rules[rule];
}

bool aegis_proof_accepts(aegis_proof_kind kind)
{
    return kind <= AEGIS_PROOF_QUEUE;
}

static bool is_edf(aegis_analysis policy)
{
    return policy == AEGIS_ANALYSIS_NP_EDF || policy == AEGIS_ANALYSIS_EDF;
}

bool aegis_certificate_has_levels(aegis_analysis policy)
{
    return !is_edf(policy) && policy != AEGIS_ANALYSIS_FIFO;
}

static void finish_witness(const aegis_certificate_witness *set, const aegis_allocator *allocator)
{
    aegis_deallocate(allocator, set->jobs, set->room, sizeof *set->jobs);
}

void aegis_certificate_finish(aegis_certificate *c, const aegis_allocator *allocator)
{
    for (size_t i = 0; c->responses != NULL && i < c->count; i++) {
        aegis_response_proof *proof = &c->responses[i];
        aegis_deallocate(allocator, proof->points, proof->room, sizeof *proof->points);
        finish_witness(&proof->reached, allocator);
    }
    aegis_deallocate(allocator, c->responses, c->count, sizeof *c->responses);
    aegis_deallocate(allocator, c->demand, c->demand_room, sizeof *c->demand);
    finish_witness(&c->miss, allocator);
    *c = (aegis_certificate){.count = 0};
}

typedef struct reader {
    aegis_json_text json;
    const char *origin;
    const aegis_allocator *allocator;
    aegis_certificate *c;
    aegis_error *err;
    aegis_status status; /* the first failure */
} reader;

/* A JSON value and where it stands. */
typedef struct spot {
    json_t *value;
    size_t offset;
} spot;

static void complain(reader *in, size_t offset, const char *format, ...) AEGIS_PRINTF(3, 4);

static void complain(reader *in, size_t offset, const char *format, ...)
{
    char text[AEGIS_ERROR_MESSAGE_BYTES];
    size_t line, column;
    va_list arguments;
    if (in->status != AEGIS_OK) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    aegis_json_line_column(in->json, offset, &line, &column);
    in->status = aegis_error_set(in->err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                                 "%s:%zu:%zu: %s", in->origin, line, column, text);
}

static void *room_for(reader *in, size_t count, size_t size)
{
    void *memory = aegis_allocate_zeroed(in->allocator, count, size);
    if (memory == NULL) {
        in->status = aegis_error_set(in->err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                     "no memory for the certificate %s", in->origin);
    }
    return memory;
}

static void check_keys(reader *in, spot object, const char *const *keys, size_t count)
{
    const char *key;
    json_t *value;
    json_object_foreach(object.value, key, value)
    {
        bool known = false;
        for (size_t i = 0; i < count; i++) {
            known = known || strcmp(key, keys[i]) == 0;
        }
        if (!known) {
            const char *nearest = aegis_nearest_word(key, keys, count);
            complain(in, aegis_json_key(in->json, object.offset, key), "unknown key \"%s\"%s%s%s",
                     key, nearest == NULL ? ": remove it" : ": did you mean \"",
                     nearest == NULL ? "" : nearest, nearest == NULL ? "" : "\"?");
            return;
        }
    }
}

/* A member that must be there. */
static spot member(reader *in, spot object, const char *key)
{
    spot found = {json_object_get(object.value, key), object.offset};
    if (found.value == NULL) {
        complain(in, object.offset,
                 "key \"%s\" is missing: have `aegisrt admit --certificate` "
                 "write the file again",
                 key);
    } else {
        found.offset = aegis_json_member(in->json, object.offset, key);
    }
    return found;
}

static int64_t read_number(reader *in, spot object, const char *key, int64_t low, int64_t high)
{
    spot found = member(in, object, key);
    int64_t value = json_integer_value(found.value);
    if (in->status == AEGIS_OK && (!json_is_integer(found.value) || value < low || value > high)) {
        complain(in, found.offset, "\"%s\" must be an integer from %" PRId64 " to %" PRId64, key,
                 low, high);
        return low;
    }
    return value;
}

/* Index of the word under `key`. */
static size_t
read_word(reader *in, spot object, const char *key, const char *const *words, size_t count)
{
    spot found = member(in, object, key);
    const char *text = json_string_value(found.value);
    for (size_t i = 0; i < count && text != NULL; i++) {
        if (strcmp(text, words[i]) == 0) {
            return i;
        }
    }
    const char *nearest = text == NULL ? NULL : aegis_nearest_word(text, words, count);
    complain(in, found.offset, "\"%s\" must be a known word, such as \"%s\"", key,
             nearest == NULL ? words[0] : nearest);
    return 0;
}

static spot read_array(reader *in, spot object, const char *key, size_t least)
{
    spot found = member(in, object, key);
    if (in->status == AEGIS_OK &&
        (!json_is_array(found.value) || json_array_size(found.value) < least)) {
        complain(in, found.offset, "\"%s\" must be an array of at least %zu", key, least);
    }
    return found;
}

static void read_tuple(reader *in, spot array, size_t n, size_t width, int64_t *ret_values)
{
    json_t *tuple = json_array_get(array.value, n);
    bool right = width == 1 || json_array_size(tuple) == width;
    for (size_t i = 0; i < width && right; i++) {
        json_t *value = width == 1 ? tuple : json_array_get(tuple, i);
        right = json_is_integer(value);
        ret_values[i] = json_integer_value(value);
    }
    if (!right) {
        complain(in, aegis_json_element(in->json, array.offset, n),
                 width == 1 ? "this must be an integer" : "this must be an array of %zu integers",
                 width);
    }
}

static void read_jobs(reader *in, spot object, aegis_certificate_witness *set)
{
    spot jobs = read_array(in, object, "jobs", 1);
    size_t count = in->status == AEGIS_OK ? json_array_size(jobs.value) : 0;
    set->jobs = count > 0 ? room_for(in, count, sizeof *set->jobs) : NULL;
    set->room = set->jobs != NULL ? count : 0;
    for (size_t n = 0; n < count && in->status == AEGIS_OK; n++) {
        int64_t values[3] = {0};
        read_tuple(in, jobs, n, 3, values);
        if (values[0] < 0 || (uint64_t)values[0] >= in->c->count) {
            complain(in, aegis_json_element(in->json, jobs.offset, n),
                     "there is no task number %" PRId64 ": they count from 0 to %zu", values[0],
                     in->c->count - 1);
            return;
        }
        set->jobs[set->count++] = (aegis_certificate_job){
            .task = (size_t)values[0], .nominal = values[1], .ready = values[2]};
    }
}

static void read_blocker(reader *in, spot object, aegis_certificate_witness *set)
{
    static const char *const keys[] = {"task", "segment"};
    spot blocker = {json_object_get(object.value, "blocker"), 0};
    if (blocker.value == NULL || in->status != AEGIS_OK) {
        return;
    }
    blocker = member(in, object, "blocker");
    check_keys(in, blocker, keys, AEGIS_ARRAY_LENGTH(keys));
    set->blocked = true;
    set->blocker = (size_t)read_number(in, blocker, "task", 0, (int64_t)in->c->count - 1);
    if (in->status == AEGIS_OK) {
        size_t segments = in->c->tasks[set->blocker].segment_count;
        set->segment = (size_t)read_number(in, blocker, "segment", 0,
                                           segments > 0 ? (int64_t)segments - 1 : 0);
    }
}

static void read_reached(reader *in, spot object, aegis_certificate_witness *set)
{
    static const char *const keys[] = {"blocker", "jobs", "job"};
    if (json_object_get(object.value, "reached") == NULL || in->status != AEGIS_OK) {
        return;
    }
    spot reached = member(in, object, "reached");
    if (!json_is_object(reached.value)) {
        complain(in, reached.offset,
                 "\"reached\" must be an object: leave it out if there is none");
        return;
    }
    check_keys(in, reached, keys, AEGIS_ARRAY_LENGTH(keys));
    read_jobs(in, reached, set);
    read_blocker(in, reached, set);
    set->job = (size_t)read_number(in, reached, "job", 0, (int64_t)set->count - 1);
}

/* A list of tuples of integers, one after the other. */
static void read_numbers(reader *in,
                         spot object,
                         const char *key,
                         size_t width,
                         int64_t **ret_numbers,
                         size_t *ret_count,
                         size_t *ret_room)
{
    spot list = read_array(in, object, key, 0);
    size_t count = in->status == AEGIS_OK ? json_array_size(list.value) : 0;
    int64_t *numbers = count > 0 ? room_for(in, width * count, sizeof *numbers) : NULL;
    *ret_numbers = numbers;
    *ret_room = numbers != NULL ? width * count : 0;
    for (size_t n = 0; n < count && in->status == AEGIS_OK; n++) {
        read_tuple(in, list, n, width, &numbers[width * n]);
        *ret_count = n + 1;
    }
}

static void read_response(reader *in, spot object, aegis_response_proof *proof)
{
    static const char *const keys[] = {"response", "reached", "blocking", "busy", "points"};
    bool levels = aegis_certificate_has_levels(in->c->policy);
    proof->response = -1;
    if (json_is_null(object.value)) {
        return;
    }
    if (!json_is_object(object.value)) {
        complain(in, object.offset, "the proof of a task must be an object, or null for none");
        return;
    }
    check_keys(in, object, keys, levels ? AEGIS_ARRAY_LENGTH(keys) : 2);
    proof->response = read_number(in, object, "response", 0, INT64_MAX);
    if (levels) {
        proof->blocking = read_number(in, object, "blocking", 0, INT64_MAX);
        proof->busy = read_number(in, object, "busy", 0, INT64_MAX);
        read_numbers(in, object, "points", 1, &proof->points, &proof->point_count, &proof->room);
    }
    read_reached(in, object, &proof->reached);
}

/* One a task, under "tasks". */
static void read_response_list(reader *in, spot object)
{
    spot tasks = read_array(in, object, "tasks", 0), one = {.value = NULL};
    if (in->status == AEGIS_OK && json_array_size(tasks.value) != in->c->count) {
        complain(in, tasks.offset, "\"tasks\" has %zu proofs for %zu tasks",
                 json_array_size(tasks.value), in->c->count);
    }
    if (in->status == AEGIS_OK) {
        in->c->responses = room_for(in, in->c->count, sizeof *in->c->responses);
        one.offset = aegis_json_element(in->json, tasks.offset, 0);
    }
    for (size_t i = 0; i < in->c->count && in->status == AEGIS_OK; i++) {
        one.value = json_array_get(tasks.value, i);
        read_response(in, one, &in->c->responses[i]);
        one.offset = aegis_json_following(in->json, one.offset);
    }
}

static void read_level_proof(reader *in, spot proof)
{
    static const char *const keys[] = {"kind", "tasks"};
    check_keys(in, proof, keys, AEGIS_ARRAY_LENGTH(keys));
    read_response_list(in, proof);
}

/* What is said about the responses beside a verdict that does not rest on them. */
static void read_responses(reader *in, spot root)
{
    static const char *const keys[] = {"tasks", "busy"};
    bool levels = aegis_certificate_has_levels(in->c->policy);
    if (json_object_get(root.value, "responses") == NULL) {
        return;
    }
    spot responses = member(in, root, "responses");
    if (!json_is_object(responses.value) || in->c->kind == AEGIS_PROOF_RESPONSES ||
        in->c->policy == AEGIS_ANALYSIS_EDF) {
        complain(in, responses.offset,
                 "\"responses\" must be an object beside a proof that says nothing about them: "
                 "remove it");
        return;
    }
    check_keys(in, responses, keys, levels ? 1 : AEGIS_ARRAY_LENGTH(keys));
    in->c->busy = levels ? 0 : read_number(in, responses, "busy", 1, INT64_MAX);
    if (in->status == AEGIS_OK) {
        read_response_list(in, responses);
    }
}

static void read_demand(reader *in, spot proof)
{
    static const char *const keys[] = {"kind", "rule", "horizon", "instants", "demand"};
    check_keys(in, proof, keys, AEGIS_ARRAY_LENGTH(keys));
    in->c->rule =
        (aegis_horizon_rule)read_word(in, proof, "rule", rules, AEGIS_ARRAY_LENGTH(rules));
    in->c->horizon = read_number(in, proof, "horizon", 1, INT64_MAX);
    in->c->instants = read_number(in, proof, "instants", 0, INT64_MAX);
    read_numbers(in, proof, "demand", 2, &in->c->demand, &in->c->demand_count, &in->c->demand_room);
}

static void read_queue(reader *in, spot proof)
{
    static const char *const keys[] = {"kind", "horizon", "instants", "longest"};
    check_keys(in, proof, keys, AEGIS_ARRAY_LENGTH(keys));
    in->c->horizon = read_number(in, proof, "horizon", 1, INT64_MAX);
    in->c->instants = read_number(in, proof, "instants", 0, INT64_MAX);
    in->c->longest = read_number(in, proof, "longest", 0, INT64_MAX);
}

static void read_miss(reader *in, spot proof)
{
    static const char *const named[] = {"kind", "blocker", "jobs", "missed", "completion"};
    static const char *const summed[] = {"kind", "blocker", "jobs", "instant", "demand"};
    bool edf = is_edf(in->c->policy);
    check_keys(in, proof, edf ? summed : named, AEGIS_ARRAY_LENGTH(named));
    read_jobs(in, proof, &in->c->miss);
    read_blocker(in, proof, &in->c->miss);
    if (edf) {
        in->c->instant = read_number(in, proof, "instant", INT64_MIN, INT64_MAX);
        in->c->total = read_number(in, proof, "demand", 1, INT64_MAX);
    } else {
        in->c->miss.job =
            (size_t)read_number(in, proof, "missed", 0, (int64_t)in->c->miss.count - 1);
        in->c->completion = read_number(in, proof, "completion", 1, INT64_MAX);
    }
}

static void read_first_tasks(reader *in, spot proof)
{
    static const char *const keys[] = {"kind", "tasks"};
    check_keys(in, proof, keys, AEGIS_ARRAY_LENGTH(keys));
    in->c->task = (size_t)read_number(in, proof, "tasks", 1, (int64_t)in->c->count);
}

static void read_bound(reader *in, spot proof)
{
    static const char *const keys[] = {"kind", "task", "at", "bound"};
    check_keys(in, proof, keys, AEGIS_ARRAY_LENGTH(keys));
    in->c->task = (size_t)read_number(in, proof, "task", 0, (int64_t)in->c->count - 1);
    in->c->at = read_number(in, proof, "at", 0, INT64_MAX);
    in->c->bound = read_number(in, proof, "bound", 1, INT64_MAX);
}

enum {
    ON_LEVELS = 1,
    ON_EDF = 2,
    ON_FIFO = 4,
    ON_ALL = 7
};

/* What each kind of proof speaks about and shows when it holds. */
static const struct {
    int policies;
    void (*read)(reader *in, spot proof);
    const char *statement;
} proofs[] = {
    [AEGIS_PROOF_RESPONSES] = {ON_LEVELS, read_level_proof, "every response meets its deadline"},
    [AEGIS_PROOF_DEMAND] = {ON_EDF, read_demand,
                            "the demand fits at every instant up to the horizon"},
    [AEGIS_PROOF_QUEUE] = {ON_FIFO, read_queue, "no job waits too long in the queue"},
    [AEGIS_PROOF_MISS] = {ON_ALL, read_miss,
                          "the jobs, simulated under the policy, miss a deadline"},
    [AEGIS_PROOF_OVERLOAD] = {ON_ALL, read_first_tasks,
                              "the utilisation is above 1: some deadline is missed"},
    [AEGIS_PROOF_NO_END] = {ON_LEVELS | ON_FIFO, read_first_tasks,
                            "U = 1 with jitter: no busy period ends, the test gives no bound (no "
                            "miss is claimed)"},
    [AEGIS_PROOF_BOUND] = {ON_FIFO, read_bound,
                           "the bound of the test passes the deadline (no miss is claimed)"}};

static void read_proof(reader *in, spot root)
{
    static const char *const verdicts[] = {"schedulable", "not-schedulable"};
    size_t verdict = read_word(in, root, "verdict", verdicts, AEGIS_ARRAY_LENGTH(verdicts));
    int policy = is_edf(in->c->policy)                         ? ON_EDF
                 : aegis_certificate_has_levels(in->c->policy) ? ON_LEVELS
                                                               : ON_FIFO;
    spot proof = member(in, root, "proof");
    if (in->status == AEGIS_OK && !json_is_object(proof.value)) {
        complain(in, proof.offset, "\"proof\" must be an object");
    }
    if (in->status != AEGIS_OK) {
        return;
    }
    in->c->kind = (aegis_proof_kind)read_word(in, proof, "kind", kinds, AEGIS_ARRAY_LENGTH(kinds));
    if (in->status != AEGIS_OK) {
        return;
    }
    if (aegis_proof_accepts(in->c->kind) != (verdict == 0) ||
        (proofs[in->c->kind].policies & policy) == 0) {
        complain(in, proof.offset,
                 "a proof of the kind \"%s\" does not speak about \"%s\" under %s",
                 kinds[in->c->kind], verdicts[verdict], aegis_analysis_name(in->c->policy));
        return;
    }
    proofs[in->c->kind].read(in, proof);
}

static void read_taskset(reader *in, spot root, aegis_taskset **ret_set)
{
    spot found = member(in, root, "taskset");
    if (in->status == AEGIS_OK) {
        in->status = aegis_taskset_read(found.value, in->json, found.offset, in->origin,
                                        in->allocator, ret_set, in->err);
    }
    if (in->status == AEGIS_OK) {
        in->c->tasks = aegis_taskset_tasks(*ret_set, &in->c->count);
        in->c->policy = aegis_taskset_policy(*ret_set);
    }
}

static void read_root(reader *in, json_t *value, aegis_taskset **ret_set)
{
    static const char *const keys[] = {"schema_version", "what",  "taskset",
                                       "verdict",        "proof", "responses"};
    static const char *const what[] = {"aegisrt-certificate"};
    spot root = {value, aegis_json_root(in->json)};
    if (!json_is_object(value)) {
        complain(in, root.offset,
                 "a certificate must be an object: have `aegisrt admit "
                 "--certificate` write it");
        return;
    }
    check_keys(in, root, keys, AEGIS_ARRAY_LENGTH(keys));
    read_number(in, root, "schema_version", 1, 2); /* 1 had no "responses" and "reached" */
    read_word(in, root, "what", what, AEGIS_ARRAY_LENGTH(what));
    read_taskset(in, root, ret_set);
    if (in->status == AEGIS_OK) {
        read_proof(in, root);
    }
    if (in->status == AEGIS_OK) {
        read_responses(in, root);
    }
}

aegis_status aegis_certificate_verify(const char *text,
                                      size_t size,
                                      const char *origin,
                                      uint64_t steps,
                                      const aegis_allocator *allocator,
                                      aegis_certificate_report *ret_report,
                                      aegis_error *err)
{
    json_error_t problem;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    if (root == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                               "%s:%d:%d: not JSON: %s", origin,
                               problem.line < 1 ? 1 : problem.line,
                               problem.column < 1 ? 1 : problem.column, problem.text);
    }
    aegis_certificate certificate = {.count = 0};
    aegis_taskset *set = NULL;
    reader in = {.json = {text, size},
                 .origin = origin,
                 .allocator = allocator,
                 .c = &certificate,
                 .err = err};
    aegis_certificate_report report;
    read_root(&in, root, &set);
    json_decref(root);
    if (in.status == AEGIS_OK) {
        in.status = aegis_certificate_check(&certificate, SIZE_MAX,
                                            steps == 0 ? AEGIS_CERTIFICATE_STEPS : steps, allocator,
                                            &report, err);
    }
    if (in.status == AEGIS_OK) {
        report.kind = kinds[certificate.kind];
        report.task_count = certificate.count;
        report.schedulable = aegis_proof_accepts(certificate.kind);
        if (report.holds) {
            snprintf(report.statement, sizeof report.statement, "%s",
                     proofs[certificate.kind].statement);
        }
        *ret_report = report;
    }
    aegis_certificate_finish(&certificate, allocator);
    aegis_taskset_destroy(set);
    return in.status;
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
