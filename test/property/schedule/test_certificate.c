/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates of random sets: each verdict under each policy has one that verifies; whatever is
 * changed in it is noticed, or what it says then is true all the same.
 *
 * AEGISRT_PROPERTY_SCALE multiplies the number of sets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "admission_tasks.h"

#include <aegisrt/certificate.h>

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define SETS 1500
#define MUTATIONS 72

typedef struct tally {
    int accepted, refused, misses, caught, still_true, malformed;
    int responses, claimed, reached; /* printed by the test, proved, and shown by jobs */
} tally;

static const aegis_allocator *host(void)
{
    static aegis_allocator allocator;
    allocator = aegis_allocator_default();
    return &allocator;
}

/* As draw_set, but some sets are overloaded. */
static void draw(uint64_t *seed, const small_shape *shape, small_set *set)
{
    draw_set(seed, shape, true, set);
    if (aegis_random_next(seed) % 8 == 0) {
        set->tasks[0].period = 1 + set->tasks[0].period / 3;
    }
}

/* The certificate, NULL when the verdict is undecided. */
static char *build(aegis_analysis policy, uint64_t seed, const small_set *set, size_t *ret_size)
{
    aegis_admission_result result;
    aegis_error err = {0};
    char *text = NULL;
    assert_int_equal(
        aegis_admission_test(policy, set->tasks, (size_t)set->count, NULL, host(), &result, &err),
        AEGIS_OK);
    if (result.verdict != AEGIS_ADMISSION_UNDECIDED &&
        aegis_certificate_build(policy, set->tasks, (size_t)set->count, &result, NULL, host(),
                                &text, ret_size, &err) != AEGIS_OK) {
        print_set(aegis_analysis_name(policy), seed, set);
        fail_msg("no certificate of the verdict %d: %s", (int)result.verdict, err.message);
    }
    aegis_admission_result_finish(&result, host());
    return text;
}

/* ---- mutations ---- */

static int64_t changed(uint64_t *seed, int64_t value)
{
    switch (aegis_random_next(seed) % 5) {
    case 0:
        return value - 1;
    case 1:
        return value + 1;
    case 2:
        return value + pick(seed, 2, 9);
    case 3:
        return value - pick(seed, 2, 9);
    default:
        return value * 2;
    }
}

/* Counts the places that can be changed, and changes number `target` of them. */
static void visit(json_t *value, uint64_t *seed, int64_t *count, int64_t target)
{
    const char *key;
    json_t *inner;
    size_t index;
    if (json_is_integer(value)) {
        if ((*count)++ == target) {
            json_integer_set(value, changed(seed, json_integer_value(value)));
        }
    } else if (json_is_array(value)) {
        json_array_foreach(value, index, inner)
        {
            visit(inner, seed, count, target);
        }
        if (json_array_size(value) > 0 && (*count)++ == target) {
            json_array_remove(value, aegis_random_next(seed) % json_array_size(value));
        }
    } else if (json_is_object(value)) {
        json_object_foreach(value, key, inner)
        {
            visit(inner, seed, count, target);
        }
    }
}

#define LARGEST_SET 8

static int64_t number(const json_t *list, size_t n)
{
    return json_integer_value(json_array_get(list, n));
}

/* The tasks that a certificate speaks about; their segments go to `segments`. */
static size_t read_tasks(const json_t *root, int64_t *segments, aegis_task *tasks)
{
    size_t count = json_array_size(json_object_get(root, "C")), next = 0;
    assert_true(count <= LARGEST_SET);
    for (size_t i = 0; i < count; i++) {
        const json_t *cut = json_array_get(json_object_get(root, "C"), i);
        tasks[i] = (aegis_task){.period = number(json_object_get(root, "T"), i),
                                .deadline = number(json_object_get(root, "D"), i),
                                .jitter = number(json_object_get(root, "J"), i),
                                .segments = &segments[next],
                                .segment_count = json_array_size(cut)};
        for (size_t s = 0; s < tasks[i].segment_count; s++) {
            segments[next] = number(cut, s);
            tasks[i].execution += segments[next++];
        }
    }
    return count;
}

/* What a certificate that verifies says must be so. */
static void check_truth(const json_t *root, const aegis_certificate_report *report)
{
    aegis_error err = {0};
    aegis_admission_result result;
    aegis_task tasks[LARGEST_SET];
    int64_t segments[1024];
    size_t count = read_tasks(root, segments, tasks);
    assert_int_equal(
        aegis_admission_test(report->policy, tasks, count, NULL, host(), &result, &err), AEGIS_OK);
    if (report->schedulable != (result.verdict == AEGIS_SCHEDULABLE)) {
        fail_msg("a wrong certificate verifies: %s", json_dumps(root, 0));
    }
    const json_t *claims = json_object_get(root, "response");
    for (size_t i = 0; i < json_array_size(claims); i++) {
        int64_t response = number(claims, i);
        assert_true(response == 0 || response >= result.tasks[i].response);
        if (json_array_size(json_array_get(json_object_get(root, "reached"), i)) > 0) {
            assert_int_equal(response, result.tasks[i].response);
        }
    }
    aegis_admission_result_finish(&result, host());
}

static void check_mutant(const json_t *root, bool in_list, tally *sum)
{
    aegis_certificate_report report;
    aegis_error err = {0};
    char *text = json_dumps(root, 0);
    aegis_status status =
        aegis_certificate_verify(text, strlen(text), "mutant", 1000000, host(), &report, &err);
    free(text);
    if (status != AEGIS_OK) {
        assert_true(status == AEGIS_ERROR_CONFIG || status == AEGIS_ERROR_UNDECIDED);
        assert_true(status != AEGIS_ERROR_CONFIG || strncmp(err.message, "mutant: ", 8) == 0);
        sum->malformed++;
    } else if (report.holds) {
        assert_false(in_list);
        check_truth(root, &report);
        sum->still_true++;
    } else {
        assert_true(report.statement[0] != '\0');
        sum->caught++;
    }
}

static void mutate(const json_t *root, uint64_t *seed, tally *sum)
{
    int64_t count = 0;
    json_t *copy = json_deep_copy(root);
    visit(copy, seed, &count, -1);
    json_decref(copy);
    for (int m = 0; m < MUTATIONS; m++) {
        copy = json_deep_copy(root);
        int64_t seen = 0;
        visit(copy, seed, &seen, (int64_t)(aegis_random_next(seed) % (uint64_t)count));
        check_mutant(copy, false, sum);
        json_decref(copy);
    }
}

/* ---- the form ---- */

static void expect_malformed(json_t *copy, const char *key)
{
    aegis_certificate_report report;
    aegis_error err = {0};
    char quoted[64];
    char *text = json_dumps(copy, 0);
    aegis_status status =
        aegis_certificate_verify(text, strlen(text), "form", 1000000, host(), &report, &err);
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    if (status != AEGIS_ERROR_CONFIG || strstr(err.message, quoted) == NULL ||
        strstr(err.message, "let admit write it anew") == NULL) {
        fail_msg("%s: %s, for %s", key, err.message, text);
    }
    free(text);
    json_decref(copy);
}

static json_t *with_value(const json_t *root, const char *key, json_t *value)
{
    json_t *copy = json_deep_copy(root);
    json_object_set_new(copy, key, value);
    return copy;
}

/* A list with an entry too many, one too few, and one that is no number or text. */
static void check_list_form(const json_t *root, const char *key, const json_t *list)
{
    const size_t size = json_array_size(list);
    json_t *copy = json_deep_copy(list);
    json_array_append_new(copy, json_integer(1));
    expect_malformed(with_value(root, key, copy), key);
    if (size > 0) {
        copy = json_deep_copy(list);
        json_array_set_new(copy, size - 1, json_real(1.0));
        expect_malformed(with_value(root, key, copy), key);
        copy = json_deep_copy(list);
        json_array_set_new(copy, 0, json_integer(-1));
        expect_malformed(with_value(root, key, copy), key);
    }
    if (size > (strcmp(key, "points") == 0)) { /* that may be empty */
        copy = json_deep_copy(list);
        json_array_remove(copy, size - 1);
        expect_malformed(with_value(root, key, copy), strcmp(key, "C") == 0 ? "names" : key);
    }
}

/* Whatever key is missing, too much or of another form is named. */
static void check_form(json_t *root)
{
    const char *key;
    json_t *value;
    expect_malformed(with_value(root, "more", json_integer(0)), "more");
    json_object_foreach(root, key, value)
    {
        if (strcmp(key, "reached") != 0) { /* may be left out */
            json_t *copy = json_deep_copy(root);
            json_object_del(copy, key);
            bool beside = strcmp(key, "response") == 0; /* then what proves it has no place */
            expect_malformed(copy,
                             beside && json_object_get(root, "end") != NULL ? "end"
                             : beside && strcmp(json_string_value(json_object_get(root, "proof")),
                                                "responses") != 0
                                 ? "busy"
                                 : key);
        }
        expect_malformed(with_value(root, key, json_real(1.0)), key);
        expect_malformed(with_value(root, key, json_null()), key);
        if (json_is_integer(value)) {
            expect_malformed(with_value(root, key, json_integer(-1)), key);
        } else if (json_is_array(value)) {
            check_list_form(root, key, value);
        }
    }
}

/* Every number of the list of demands, and every entry of it, counts. */
static void mutate_demand(const json_t *root, tally *sum)
{
    size_t size = json_array_size(json_object_get(root, "demand"));
    for (size_t n = 0; n < size && n < 60; n++) {
        json_t *copy = json_deep_copy(root);
        json_t *entry = json_array_get(json_object_get(copy, "demand"), n);
        json_integer_set(entry, json_integer_value(entry) - 1);
        check_mutant(copy, true, sum);
        json_decref(copy);
        copy = json_deep_copy(root);
        json_array_remove(json_object_get(copy, "demand"), n);
        check_mutant(copy, true, sum);
        json_decref(copy);
    }
}

/* Whatever response the test prints is proved. */
static void count_responses(aegis_analysis policy,
                            const small_set *set,
                            const aegis_certificate_report *report,
                            tally *sum)
{
    aegis_admission_result result;
    size_t printed = 0;
    assert_int_equal(
        aegis_admission_test(policy, set->tasks, (size_t)set->count, NULL, host(), &result, NULL),
        AEGIS_OK);
    for (size_t i = 0; i < result.task_count; i++) {
        printed += result.tasks[i].response >= 0;
    }
    aegis_admission_result_finish(&result, host());
    assert_int_equal(report->responses, printed);
    assert_true(report->reached <= report->responses);
    sum->responses += (int)printed;
    sum->claimed += (int)report->responses;
    sum->reached += (int)report->reached;
}

static void check_set(aegis_analysis policy, uint64_t *seed, const small_shape *shape, tally *sum)
{
    uint64_t first = *seed;
    small_set set;
    size_t size = 0;
    aegis_certificate_report report;
    aegis_error err = {0};
    draw(seed, shape, &set);
    char *text = build(policy, first, &set, &size);
    if (text == NULL) {
        return;
    }
    if (aegis_certificate_verify(text, size, "certificate", 0, host(), &report, &err) != AEGIS_OK ||
        !report.holds) {
        print_set(aegis_analysis_name(policy), first, &set);
        fail_msg("%s%s", err.message, report.statement);
    }
    sum->accepted += report.schedulable;
    sum->refused += !report.schedulable;
    sum->misses += strcmp(report.kind, "miss") == 0;
    json_t *root = json_loadb(text, size, 0, NULL);
    count_responses(policy, &set, &report, sum);
    check_form(root);
    mutate(root, seed, sum);
    mutate_demand(root, sum);
    json_decref(root);
    aegis_certificate_free(text, size, host());
}

static void check_policy(aegis_analysis policy)
{
    static const small_shape shapes[] = {
        {2, 4, 3, 20, 6, 0, -1, false, false}, {2, 4, 3, 20, 6, 0, 8, false, false},
        {2, 4, 3, 20, 6, 3, 8, false, false},  {2, 4, 3, 20, 8, 0, 8, false, true},
        {2, 3, 3, 12, 8, 3, 8, true, true},
    };
    int accepted = 0, refused = 0, misses = 0;
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        tally sum = {0};
        uint64_t seed = UINT64_C(0x9d2c5680) + s + 64 * (uint64_t)policy;
        for (int n = 0; n < scaled(SETS) / 5; n++) {
            check_set(policy, &seed, &shapes[s], &sum);
        }
        print_message("%-6s shape %zu: %d accepted, %d refused, %d by a miss; mutants: %d caught, "
                      "%d malformed, %d still true\n",
                      aegis_analysis_name(policy), s, sum.accepted, sum.refused, sum.misses,
                      sum.caught, sum.malformed, sum.still_true);
        print_message("       %d responses, %d proved, %d reached\n", sum.responses, sum.claimed,
                      sum.reached);
        /* All but those of fifo with jitter, and of np-edf with segments, are exact. */
        bool exact = (policy != AEGIS_ANALYSIS_FIFO || shapes[s].max_jitter == 0) &&
                     (policy != AEGIS_ANALYSIS_NP_EDF || !shapes[s].cut);
        assert_true(!exact || sum.reached == sum.claimed);
        assert_true(sum.caught > 0 && sum.malformed > 0 && sum.still_true > 0);
        accepted += sum.accepted;
        refused += sum.refused;
        misses += sum.misses;
    }
    assert_true(accepted > 0 && refused > 0 && misses > 0);
}

static void np_fp_certificates(void **state)
{
    (void)state;
    check_policy(AEGIS_ANALYSIS_NP_FP);
}

static void fp_certificates(void **state)
{
    (void)state;
    check_policy(AEGIS_ANALYSIS_FP);
}

static void fpp_certificates(void **state)
{
    (void)state;
    check_policy(AEGIS_ANALYSIS_FPP);
}

static void np_edf_certificates(void **state)
{
    (void)state;
    check_policy(AEGIS_ANALYSIS_NP_EDF);
}

static void edf_certificates(void **state)
{
    (void)state;
    check_policy(AEGIS_ANALYSIS_EDF);
}

static void fifo_certificates(void **state)
{
    (void)state;
    check_policy(AEGIS_ANALYSIS_FIFO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(np_fp_certificates), cmocka_unit_test(fp_certificates),
        cmocka_unit_test(fpp_certificates),   cmocka_unit_test(np_edf_certificates),
        cmocka_unit_test(edf_certificates),   cmocka_unit_test(fifo_certificates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
