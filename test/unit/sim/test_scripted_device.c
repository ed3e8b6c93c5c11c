/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/scripted_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <stdio.h>
#include <string.h>
#include <cmocka.h>

typedef struct world {
    aegis_device *device;
    aegis_scripted_device *script;
    aegis_stream *first, *second;
    char log[1024];
} world;

/* A call that writes "[time] name" and may spend time. */
typedef struct work {
    world *in;
    const char *name;
    uint64_t spends_ns;
} work;

static void write_work(void *argument)
{
    work *self = argument;
    aegis_clock clock = aegis_scripted_device_clock(self->in->script);
    size_t used = strlen(self->in->log);
    snprintf(self->in->log + used, sizeof self->in->log - used, "[%llu] %s\n",
             (unsigned long long)aegis_clock_now_ns(&clock), self->name);
    aegis_scripted_device_spend(self->in->script, self->spends_ns);
}

static int set_up(void **state)
{
    static world one;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_scripted_device_config config = {.arena_bytes = 65536,
                                           .copy_bytes_per_second = 1000000000};
    aegis_stream_config stream = aegis_stream_config_default("scripted");
    stream.depth = 4;
    one = (world){0};
    assert_int_equal(
        aegis_scripted_device_create(&config, &allocator, &one.device, &one.script, NULL),
        AEGIS_OK);
    assert_int_equal(aegis_stream_create(one.device, &stream, &one.first, NULL), AEGIS_OK);
    assert_int_equal(aegis_stream_create(one.device, &stream, &one.second, NULL), AEGIS_OK);
    *state = &one;
    return 0;
}

static int tear_down(void **state)
{
    world *one = *state;
    aegis_stream_destroy(one->first);
    aegis_stream_destroy(one->second);
    aegis_device_destroy(one->device);
    return 0;
}

static void nothing_runs_without_a_step(void **state)
{
    world *one = *state;
    work a = {one, "a", 0};
    uint64_t when = 99;
    assert_false(aegis_scripted_device_next_ns(one->script, &when));
    assert_int_equal(when, 99);
    assert_int_equal(aegis_stream_call(one->first, write_work, &a, NULL), AEGIS_OK);
    assert_string_equal(one->log, "");
    assert_int_equal(aegis_stream_query(one->first, NULL), AEGIS_ERROR_BUSY);
    assert_true(aegis_scripted_device_next_ns(one->script, &when));
    assert_int_equal(when, 0);
    assert_true(aegis_scripted_device_step(one->script));
    assert_string_equal(one->log, "[0] a\n");
    assert_int_equal(aegis_stream_query(one->first, NULL), AEGIS_OK);
    assert_false(aegis_scripted_device_step(one->script));
}

static void streams_interleave_in_virtual_time(void **state)
{
    world *one = *state;
    work a = {one, "a", 0}, b = {one, "b", 0}, c = {one, "c", 25}, done = {one, "done", 0};
    aegis_scripted_stream_set_cost(one->first, 100);
    aegis_scripted_stream_set_cost(one->second, 40);
    aegis_stream_call(one->first, write_work, &a, NULL);
    aegis_stream_notify(one->first, write_work, &done, NULL);
    aegis_stream_call(one->second, write_work, &b, NULL);
    aegis_stream_call(one->second, write_work, &c, NULL);
    aegis_stream_notify(one->second, write_work, &done, NULL);
    assert_int_equal(aegis_scripted_device_advance(one->script, 104), 4);
    assert_string_equal(one->log, "[0] a\n[0] b\n[40] c\n[100] done\n");
    assert_int_equal(aegis_stream_query(one->second, NULL), AEGIS_ERROR_BUSY);
    assert_int_equal(aegis_scripted_device_advance(one->script, 1000), 1);
    assert_string_equal(one->log, "[0] a\n[0] b\n[40] c\n[100] done\n[105] done\n");
    aegis_clock clock = aegis_scripted_device_clock(one->script);
    assert_int_equal(aegis_clock_now_ns(&clock), 1000);
}

static void work_put_in_later_starts_later(void **state)
{
    world *one = *state;
    work a = {one, "a", 10}, b = {one, "b", 0};
    aegis_scripted_device_advance(one->script, 500);
    aegis_stream_call(one->first, write_work, &a, NULL);
    assert_int_equal(aegis_stream_synchronize(one->first, NULL), AEGIS_OK);
    aegis_stream_call(one->first, write_work, &b, NULL);
    assert_int_equal(aegis_stream_synchronize(one->first, NULL), AEGIS_OK);
    assert_string_equal(one->log, "[500] a\n[510] b\n");
}

static void events_and_copies_take_virtual_time(void **state)
{
    world *one = *state;
    work after = {one, "after", 0};
    aegis_event *start, *end;
    void *base;
    int64_t elapsed = 0;
    aegis_device_get_arena(one->device, &base, NULL);
    assert_int_equal(aegis_event_create(one->device, &start, NULL), AEGIS_OK);
    assert_int_equal(aegis_event_create(one->device, &end, NULL), AEGIS_OK);
    aegis_event_record(start, one->first, NULL);
    aegis_stream_copy(one->first, base, (char *)base + 1000, 1000, NULL);
    aegis_event_record(end, one->first, NULL);
    aegis_stream_wait_event(one->second, end, NULL);
    aegis_stream_call(one->second, write_work, &after, NULL);
    assert_int_equal(aegis_stream_synchronize(one->second, NULL), AEGIS_OK);
    assert_int_equal(aegis_event_elapsed_ns(start, end, &elapsed, NULL), AEGIS_OK);
    assert_int_equal(elapsed, 1000);
    assert_string_equal(one->log, "[1000] after\n");
    aegis_event_destroy(start);
    aegis_event_destroy(end);
}

static void nth_operation_is_refused(void **state)
{
    world *one = *state;
    work a = {one, "a", 0};
    aegis_error err;
    aegis_scripted_device_fail_operation(one->script, 2, AEGIS_ERROR_DEVICE);
    assert_int_equal(aegis_stream_call(one->first, write_work, &a, NULL), AEGIS_OK);
    assert_int_equal(aegis_stream_call(one->first, write_work, &a, &err), AEGIS_ERROR_DEVICE);
    assert_int_equal(err.status, AEGIS_ERROR_DEVICE);
    assert_int_equal(aegis_stream_call(one->first, write_work, &a, NULL), AEGIS_OK);
    assert_int_equal(aegis_stream_synchronize(one->first, NULL), AEGIS_OK);
    assert_string_equal(one->log, "[0] a\n[0] a\n");
}

static void failed_work_is_reported_once(void **state)
{
    world *one = *state;
    work a = {one, "a", 0};
    aegis_scripted_device_fail_work(one->script, 2, AEGIS_ERROR_DEVICE);
    aegis_stream_call(one->first, write_work, &a, NULL);
    aegis_stream_call(one->first, write_work, &a, NULL);
    aegis_stream_call(one->first, write_work, &a, NULL);
    assert_true(aegis_scripted_device_step(one->script));
    assert_int_equal(aegis_stream_query(one->first, NULL), AEGIS_ERROR_BUSY);
    assert_true(aegis_scripted_device_step(one->script));
    assert_int_equal(aegis_stream_query(one->first, NULL), AEGIS_ERROR_DEVICE);
    assert_int_equal(aegis_stream_synchronize(one->first, NULL), AEGIS_ERROR_DEVICE);
    assert_string_equal(one->log, "[0] a\n[0] a\n[0] a\n");
    assert_int_equal(aegis_stream_query(one->first, NULL), AEGIS_OK);
    assert_int_equal(aegis_stream_synchronize(one->second, NULL), AEGIS_OK);
}

static void fatal_failure_stays(void **state)
{
    world *one = *state;
    work a = {one, "a", 0};
    aegis_scripted_device_fail_work(one->script, 1, AEGIS_ERROR_DEVICE_LOST);
    aegis_stream_call(one->first, write_work, &a, NULL);
    assert_int_equal(aegis_stream_synchronize(one->first, NULL), AEGIS_ERROR_DEVICE_LOST);
    assert_int_equal(aegis_stream_synchronize(one->first, NULL), AEGIS_ERROR_DEVICE_LOST);
    assert_int_equal(aegis_stream_query(one->first, NULL), AEGIS_ERROR_DEVICE_LOST);
}

/* From within a function, as a scheduler's completion does. */
typedef struct chain {
    world *in;
    int left;
} chain;

static void put_next(void *argument)
{
    chain *self = argument;
    aegis_scripted_device_spend(self->in->script, 10);
    if (self->left-- > 0) {
        assert_int_equal(aegis_stream_call(self->in->first, put_next, self, NULL), AEGIS_OK);
    }
}

static void functions_may_put_in_more_work(void **state)
{
    world *one = *state;
    chain links = {one, 99};
    aegis_stream_call(one->first, put_next, &links, NULL);
    assert_int_equal(aegis_stream_synchronize(one->first, NULL), AEGIS_OK);
    aegis_clock clock = aegis_scripted_device_clock(one->script);
    assert_int_equal(aegis_clock_now_ns(&clock), 1000);
}

static void bad_configurations_are_refused(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_scripted_device_config config = {0};
    aegis_device *device = NULL;
    aegis_scripted_device *script = NULL;
    assert_int_equal(aegis_scripted_device_create(&config, &allocator, &device, &script, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_scripted_device_create(NULL, &allocator, &device, &script, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_null(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_runs_without_a_step, set_up, tear_down),
        cmocka_unit_test_setup_teardown(streams_interleave_in_virtual_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(work_put_in_later_starts_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(events_and_copies_take_virtual_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nth_operation_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failed_work_is_reported_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fatal_failure_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(functions_may_put_in_more_work, set_up, tear_down),
        cmocka_unit_test(bad_configurations_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
