/* SPDX-License-Identifier: Apache-2.0 */
/* The built-in policies: names, keys and which proof they ask for. */
#include <aegisrt/ext/policy_ops.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const aegis_policy_model model = {
    .model = 3, .period_ns = 500, .deadline_ns = 400, .priority = -7, .bound_ns = 10};
static const aegis_policy_job job = {
    .job = 9, .sequence = 2, .model = 3, .release_ns = 1000, .deadline_ns = 1400};

static aegis_policy find(const char *name)
{
    aegis_policy policy = {0};
    assert_int_equal(aegis_policy_find(name, &policy, NULL), AEGIS_OK);
    assert_string_equal(aegis_policy_name(&policy), name);
    return policy;
}

static int64_t key(const char *name)
{
    aegis_policy policy = find(name);
    return policy.ops->key(policy.self, &model, &job);
}

static void every_name_is_found(void **state)
{
    (void)state;
    size_t count = 0;
    const char *const *names = aegis_policy_names(&count);
    assert_int_equal(count, 6);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(find(names[i]).ops->version, AEGIS_POLICY_OPS_VERSION);
    }
}

static void unknown_names_get_a_suggestion(void **state)
{
    (void)state;
    aegis_policy policy = {.self = &policy};
    aegis_error err = {0};
    assert_int_equal(aegis_policy_find("np-edff", &policy, &err), AEGIS_ERROR_NOT_FOUND);
    assert_non_null(strstr(err.message, "did you mean \"np-edf\""));
    assert_non_null(strstr(err.message, "np-dm"));
    assert_ptr_equal(policy.self, &policy);
    assert_int_equal(aegis_policy_find(NULL, &policy, &err), AEGIS_ERROR_NOT_FOUND);
}

static void keys_are_what_the_names_say(void **state)
{
    (void)state;
    assert_int_equal(key("fifo"), 1000);
    assert_int_equal(key("np-rm"), 500);
    assert_int_equal(key("np-dm"), 400);
    assert_int_equal(key("np-fp"), -7);
    assert_int_equal(key("np-edf"), 1400);
}

/* Periods 30, 10, 20, 10; deadlines 5, 9, 7, 6; priorities 1, 1, 0, 2; numbers 4, 3, 2, 1. */
static const aegis_policy_model set[] = {
    {.model = 4, .period_ns = 30, .deadline_ns = 5, .priority = 1, .segment_count = 1},
    {.model = 3, .period_ns = 10, .deadline_ns = 9, .priority = 1, .segment_count = 1},
    {.model = 2, .period_ns = 20, .deadline_ns = 7, .priority = 0, .segment_count = 1},
    {.model = 1, .period_ns = 10, .deadline_ns = 6, .priority = 2, .segment_count = 1},
};

static void expect_proof(const char *name,
                         const aegis_policy_model *models,
                         aegis_analysis analysis,
                         const size_t order[4])
{
    aegis_policy policy = find(name);
    aegis_analysis got = (aegis_analysis)99;
    size_t got_order[4] = {9, 9, 9, 9};
    assert_true(policy.ops->proof(policy.self, models, 4, &got, got_order));
    assert_int_equal(got, analysis);
    assert_memory_equal(got_order, order, sizeof got_order);
}

static void proofs_follow_the_order_of_the_run(void **state)
{
    (void)state;
    expect_proof("np-rm", set, AEGIS_ANALYSIS_NP_FP, (size_t[]){3, 1, 2, 0});
    expect_proof("np-dm", set, AEGIS_ANALYSIS_NP_FP, (size_t[]){0, 3, 2, 1});
    expect_proof("np-fp", set, AEGIS_ANALYSIS_NP_FP, (size_t[]){2, 1, 0, 3});
    expect_proof("np-edf", set, AEGIS_ANALYSIS_NP_EDF, (size_t[]){0, 1, 2, 3});
    expect_proof("fifo", set, AEGIS_ANALYSIS_FIFO, (size_t[]){0, 1, 2, 3});
}

static void cut_models_need_preemption_points(void **state)
{
    (void)state;
    aegis_policy_model cut[4];
    memcpy(cut, set, sizeof cut);
    cut[2].segment_count = 2;
    expect_proof("np-rm", cut, AEGIS_ANALYSIS_FPP, (size_t[]){3, 1, 2, 0});
    expect_proof("np-edf", cut, AEGIS_ANALYSIS_NP_EDF, (size_t[]){0, 1, 2, 3});
    expect_proof("fifo", cut, AEGIS_ANALYSIS_FIFO, (size_t[]){0, 1, 2, 3});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_is_found),
        cmocka_unit_test(unknown_names_get_a_suggestion),
        cmocka_unit_test(keys_are_what_the_names_say),
        cmocka_unit_test(proofs_follow_the_order_of_the_run),
        cmocka_unit_test(cut_models_need_preemption_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
