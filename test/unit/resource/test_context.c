/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/context.h>

#include "support/test_allocator.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static aegis_context *make(aegis_resource_budget budget)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_context *context;
    assert_int_equal(aegis_context_create(7, "detector", &budget, NULL, &allocator, &context, NULL),
                     AEGIS_OK);
    return context;
}

static void create_keeps_what_it_is_given(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_resource_budget budget = {
        .memory_limit_bytes = 5, .compute_budget_ns = 3, .period_ns = 9};
    char name[] = "changing";
    struct aegis_model *model = (struct aegis_model *)(uintptr_t)64;
    aegis_context *context;
    assert_int_equal(aegis_context_create(3, name, &budget, model, &allocator, &context, NULL),
                     AEGIS_OK);
    name[0] = 0;
    budget.memory_limit_bytes = 0;
    assert_int_equal(aegis_context_id(context), 3);
    assert_string_equal(aegis_context_name(context), "changing");
    assert_ptr_equal(aegis_context_model(context), model);
    assert_int_equal(aegis_context_budget(context)->memory_limit_bytes, 5);
    assert_int_equal(aegis_context_budget(context)->stream_limit, 1);
    aegis_context_destroy(context);
    aegis_context_destroy(NULL);
}

static void create_refuses_what_makes_no_sense(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_context *context = NULL;
    aegis_resource_budget budget = {.compute_budget_ns = 10};
    aegis_error err;
    assert_int_equal(aegis_context_create(1, "x", &budget, NULL, &allocator, &context, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "'x'"));
    budget.period_ns = 9;
    assert_int_equal(aegis_context_create(1, "x", &budget, NULL, &allocator, &context, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_context_create(1, NULL, &budget, NULL, &allocator, &context, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_context_create(1, "x", NULL, NULL, &allocator, &context, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    budget.period_ns = 10;
    for (uint64_t nth = 1; nth <= 3; nth++) {
        test_allocator counting = {.fail_at = nth};
        aegis_allocator failing = test_allocator_make(&counting);
        aegis_status status = aegis_context_create(1, "x", &budget, NULL, &failing, &context, NULL);
        assert_int_equal(status, nth <= 2 ? AEGIS_ERROR_NO_MEMORY : AEGIS_OK);
        if (status == AEGIS_OK) {
            aegis_context_destroy(context);
        }
        assert_int_equal(counting.blocks, 0);
        assert_int_equal(counting.wrong_sizes, 0);
    }
}

static void memory_is_charged_up_to_the_limit(void **state)
{
    (void)state;
    aegis_context *context = make((aegis_resource_budget){.memory_limit_bytes = 100});
    aegis_error err;
    assert_int_equal(aegis_context_charge_memory(context, 60, NULL), AEGIS_OK);
    assert_true(aegis_context_can_allocate(context, 40));
    assert_false(aegis_context_can_allocate(context, 41));
    assert_int_equal(aegis_context_charge_memory(context, 41, &err), AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_non_null(strstr(err.message, "41"));
    assert_non_null(strstr(err.message, "60"));
    assert_int_equal(aegis_context_charge_memory(context, UINT64_MAX, NULL),
                     AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_int_equal(aegis_context_memory_used(context), 60);
    assert_int_equal(aegis_context_charge_memory(context, 40, NULL), AEGIS_OK);
    aegis_context_release_memory(context, 90);
    assert_int_equal(aegis_context_memory_used(context), 10);
    assert_int_equal(aegis_context_memory_peak(context), 100);
    aegis_context_release_memory(context, 11); /* more than there is leaves nothing, not 2^64 - 1 */
    assert_int_equal(aegis_context_memory_used(context), 0);
    aegis_context_destroy(context);
}

static void no_limit_still_counts(void **state)
{
    (void)state;
    aegis_context *context = make((aegis_resource_budget){0});
    assert_int_equal(aegis_context_charge_memory(context, UINT64_MAX, NULL), AEGIS_OK);
    assert_int_equal(aegis_context_charge_memory(context, 1, NULL), AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_int_equal(aegis_context_memory_used(context), UINT64_MAX);
    aegis_context_destroy(context);
}

static void streams_are_limited(void **state)
{
    (void)state;
    aegis_context *context = make((aegis_resource_budget){.stream_limit = 2});
    aegis_error err;
    assert_int_equal(aegis_context_acquire_stream(context, NULL), AEGIS_OK);
    assert_int_equal(aegis_context_acquire_stream(context, NULL), AEGIS_OK);
    assert_int_equal(aegis_context_acquire_stream(context, &err), AEGIS_ERROR_STREAMS_EXHAUSTED);
    assert_int_equal(err.category, AEGIS_CATEGORY_TRANSIENT);
    assert_int_equal(aegis_context_streams_in_use(context), 2);
    aegis_context_release_stream(context);
    assert_int_equal(aegis_context_acquire_stream(context, NULL), AEGIS_OK);
    for (int i = 0; i < 3; i++) {
        aegis_context_release_stream(context);
    }
    assert_int_equal(aegis_context_streams_in_use(context), 0);
    aegis_context_destroy(context);
}

static void compute_starts_anew_each_period(void **state)
{
    (void)state;
    aegis_context *context =
        make((aegis_resource_budget){.compute_budget_ns = 30, .period_ns = 100});
    assert_int_equal(aegis_context_compute_left_ns(context, 0), 30);
    assert_true(aegis_context_charge_compute(context, 10, 20));
    assert_true(aegis_context_charge_compute(context, 99, 10));
    assert_int_equal(aegis_context_compute_left_ns(context, 99), 0);
    assert_false(aegis_context_charge_compute(context, 99, 1));
    assert_int_equal(aegis_context_compute_left_ns(context, 99), 0);
    assert_int_equal(aegis_context_compute_left_ns(context, 100), 30);
    assert_false(aegis_context_charge_compute(context, 100, 31));
    assert_false(aegis_context_charge_compute(context, 150, UINT64_MAX)); /* saturates */
    assert_int_equal(aegis_context_compute_left_ns(context, 150), 0);
    assert_true(aegis_context_charge_compute(context, 1000, 30));
    aegis_context_destroy(context);
}

static void without_a_compute_budget_all_is_allowed(void **state)
{
    (void)state;
    aegis_context *context = make((aegis_resource_budget){0});
    assert_true(aegis_context_charge_compute(context, 5, UINT64_MAX));
    assert_int_equal(aegis_context_compute_left_ns(context, 5), UINT64_MAX);
    aegis_context_destroy(context);
}

static void first_error_is_kept_until_cleared(void **state)
{
    (void)state;
    aegis_context *context = make((aegis_resource_budget){0});
    aegis_error first, second, got = {.line = 77};
    aegis_error_set(&first, AEGIS_HERE("test"), AEGIS_ERROR_INFERENCE, "first");
    aegis_error_set(&second, AEGIS_HERE("test"), AEGIS_ERROR_DEVICE, "second");
    assert_false(aegis_context_has_error(context));
    assert_false(aegis_context_last_error(context, &got));
    assert_int_equal(got.line, 77);
    aegis_context_set_error(context, &first);
    aegis_context_set_error(context, &second);
    assert_true(aegis_context_has_error(context));
    assert_true(aegis_context_last_error(context, &got));
    assert_string_equal(got.message, "first");
    assert_int_equal(got.status, AEGIS_ERROR_INFERENCE);
    aegis_context_clear_error(context);
    assert_false(aegis_context_has_error(context));
    aegis_context_set_error(context, &second);
    assert_true(aegis_context_last_error(context, &got));
    assert_string_equal(got.message, "second");
    aegis_context_destroy(context);
}

/* ---- threads ---- */

#define THREADS 4
#define ROUNDS 20000

typedef struct shared {
    aegis_context *context;
    _Atomic unsigned inside, most;
} shared;

static void *contend(void *argument)
{
    shared *s = argument;
    aegis_error error;
    aegis_error_set(&error, AEGIS_HERE("test"), AEGIS_ERROR_INFERENCE, "same everywhere");
    for (int i = 0; i < ROUNDS; i++) {
        if (aegis_context_acquire_stream(s->context, NULL) == AEGIS_OK) {
            unsigned now = atomic_fetch_add(&s->inside, 1) + 1, most = atomic_load(&s->most);
            while (now > most && !atomic_compare_exchange_weak(&s->most, &most, now)) {
            }
            atomic_fetch_sub(&s->inside, 1);
            aegis_context_release_stream(s->context);
        }
        if (aegis_context_charge_memory(s->context, 40, NULL) == AEGIS_OK) {
            aegis_context_release_memory(s->context, 40);
        }
        if (i % 64 == 0) {
            aegis_error got;
            aegis_context_set_error(s->context, &error);
            if (aegis_context_last_error(s->context, &got) &&
                strcmp(got.message, error.message) != 0) {
                atomic_store(&s->most, 99);
            }
            aegis_context_clear_error(s->context);
        }
    }
    return NULL;
}

static void threads_never_pass_a_limit(void **state)
{
    (void)state;
    shared s = {.context =
                    make((aegis_resource_budget){.memory_limit_bytes = 100, .stream_limit = 2})};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, contend, &s), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_in_range(s.most, 1, 2);
    assert_int_equal(aegis_context_streams_in_use(s.context), 0);
    assert_int_equal(aegis_context_memory_used(s.context), 0);
    assert_in_range(aegis_context_memory_peak(s.context), 40, 80);
    aegis_context_destroy(s.context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_keeps_what_it_is_given),
        cmocka_unit_test(create_refuses_what_makes_no_sense),
        cmocka_unit_test(memory_is_charged_up_to_the_limit),
        cmocka_unit_test(no_limit_still_counts),
        cmocka_unit_test(streams_are_limited),
        cmocka_unit_test(compute_starts_anew_each_period),
        cmocka_unit_test(without_a_compute_budget_all_is_allowed),
        cmocka_unit_test(first_error_is_kept_until_cleared),
        cmocka_unit_test(threads_never_pass_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
