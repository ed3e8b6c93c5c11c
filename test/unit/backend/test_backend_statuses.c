/* SPDX-License-Identifier: Apache-2.0 */
/* What backend.h documents of every backend: what the calls refuse by themselves, and that what a
 * backend says comes through as it is. That the backends say it when they have to is in their own
 * tests: test_null*.c, test_transformer*.c, test/integration/test_onnx_*.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/device.h"
#include "support/bare_backend.h"
#include "support/expect.h"
#include "support/test_allocator.h"

#include <string.h>

typedef struct bed {
    test_allocator counting;
    aegis_allocator allocator;
    aegis_backend_ops ops;
    aegis_backend *backend;
    aegis_model *model;
    bare_model bare;
    aegis_status said; /* by whatever is asked */
    bool placed;
    int destroyed;
} bed;

static bed the; /* not every op gets the backend */

static aegis_status say(aegis_error *err)
{
    return the.said == AEGIS_OK ? AEGIS_OK
                                : aegis_error_set(err, AEGIS_HERE("test"), the.said, "said so");
}

static aegis_status
say_open(void *self, const aegis_model_config *config, void **ret_model, aegis_error *err)
{
    (void)self;
    (void)config;
    *ret_model = &the.bare;
    return say(err);
}

static aegis_status say_record(void *self, aegis_stream *stream, aegis_error *err)
{
    (void)self;
    (void)stream;
    return say(err);
}

static aegis_status say_lifetimes(void *self,
                                  const aegis_tensor_lifetime **ret_lifetimes,
                                  size_t *ret_count,
                                  aegis_error *err)
{
    (void)self;
    *ret_lifetimes = NULL;
    *ret_count = 0;
    return the.said == AEGIS_ERROR_STATE ? say(err) : AEGIS_OK;
}

static aegis_status say_place(void *self, const aegis_model_placement *placement, aegis_error *err)
{
    (void)self;
    (void)placement;
    return say(err);
}

static bool say_placed(void *self)
{
    (void)self;
    return the.placed;
}

static aegis_status say_reset(void *self, aegis_error *err)
{
    (void)self;
    return say(err);
}

static aegis_status
say_execute(void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    (void)self;
    (void)segment;
    (void)slot;
    (void)stream;
    return say(err);
}

static aegis_status say_take_ahead(void *self, uint32_t segment, uint32_t slot, aegis_error *err)
{
    (void)self;
    (void)segment;
    (void)slot;
    return say(err);
}

static bool has_no_halves(void *self)
{
    (void)self;
    return false;
}

static void count_destroyed(void *self)
{
    (void)self;
    the.destroyed++;
}

static void nothing(void *self)
{
    (void)self;
}

static void fill_ops(void)
{
    bare_backend_fill(&the.ops);
    the.ops.name = "saying";
    the.ops.destroy = count_destroyed;
    the.ops.close = nothing;
    the.ops.open = say_open;
    the.ops.record = say_record;
    the.ops.lifetimes = say_lifetimes;
    the.ops.place = say_place;
    the.ops.is_placed = say_placed;
    the.ops.reset = say_reset;
    the.ops.execute = say_execute;
}

static const aegis_model_config config = {.name = "m", .path = "-"};

static void open_bed(void)
{
    memset(&the, 0, sizeof the);
    the.allocator = test_allocator_make(&the.counting);
    fill_ops();
    assert_int_equal(aegis_backend_wrap(&the.ops, &the, &the.allocator, &the.backend, NULL),
                     AEGIS_OK);
    assert_int_equal(aegis_model_open(the.backend, &config, &the.model, NULL), AEGIS_OK);
}

static void close_bed(void)
{
    aegis_model_close(the.model);
    aegis_backend_destroy(the.backend);
    assert_int_equal(the.destroyed, 1);
    assert_int_equal(the.counting.blocks, 0);
    assert_int_equal(the.counting.wrong_sizes, 0);
}

/* ---- wrapping ---- */

static void refuse_ops(aegis_status wanted, int destroyed, const char *part)
{
    aegis_backend *backend = NULL;
    aegis_error err = {0};
    the.destroyed = 0;
    expect(aegis_backend_wrap(&the.ops, &the, &the.allocator, &backend, &err), wanted, &err, part);
    assert_null(backend);
    assert_int_equal(the.destroyed, destroyed);
}

/* Of a table of another version nothing is known, so nothing of it is called. */
static void tables_that_are_not_whole(void **state)
{
    (void)state;
    aegis_backend *backend = NULL;
    aegis_error err = {0};
    memset(&the, 0, sizeof the);
    the.allocator = test_allocator_make(&the.counting);
    expect(aegis_backend_wrap(NULL, &the, &the.allocator, &backend, &err),
           AEGIS_ERROR_INVALID_ARGUMENT, &err, "ops");
    fill_ops();
    the.ops.version++;
    refuse_ops(AEGIS_ERROR_INVALID_ARGUMENT, 0, "have version 2");
    fill_ops();
    the.ops.commit = NULL;
    refuse_ops(AEGIS_ERROR_INVALID_ARGUMENT, 1, "lacks the required entry 'commit'");
    fill_ops();
    the.ops.destroy = NULL;
    refuse_ops(AEGIS_ERROR_INVALID_ARGUMENT, 0, "lacks the required entry 'destroy'");
    fill_ops();
    the.counting.fail_at = the.counting.calls + 1;
    refuse_ops(AEGIS_ERROR_NO_MEMORY, 1, "no memory for backend 'saying'");
    assert_int_equal(the.counting.blocks, 0);
}

static bool out_of_reach(void *self)
{
    (void)self;
    return false;
}

static void keep_host(void *self)
{
    (void)self; /* the host device's, which goes on its own */
}

/* A device whose memory the host cannot reach. */
static void a_device_that_is_out_of_reach(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_device_config host_config = {.kind = AEGIS_DEVICE_HOST, .arena_bytes = 65536};
    const aegis_backend_config null = {.runtime = "null", .consumer = "test"};
    aegis_device *host = NULL, *device = NULL;
    aegis_backend *backend = NULL;
    aegis_error err = {0};
    assert_int_equal(aegis_device_create(&host_config, &allocator, &host, NULL), AEGIS_OK);
    aegis_device_ops ops = *aegis_device_get_ops(host);
    ops.destroy = keep_host;
    ops.host_addressable = out_of_reach;
    assert_int_equal(aegis_device_wrap(&ops, host->self, &allocator, &device, NULL), AEGIS_OK);
    expect(aegis_backend_create(&null, device, &allocator, &backend, &err), AEGIS_ERROR_UNSUPPORTED,
           &err, "use kind = \"host\"");
    assert_null(backend);
    aegis_device_destroy(device);
    aegis_device_destroy(host);
}

static void runtimes_that_cannot_be_asked_for(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_backend_config none = {.consumer = "test"};
    aegis_backend *backend = NULL;
    aegis_error err = {0};
    expect(aegis_backend_create(&none, NULL, &allocator, &backend, &err),
           AEGIS_ERROR_INVALID_ARGUMENT, &err, "a runtime");
    assert_null(backend);
}

/* ---- what the calls refuse by themselves ---- */

static void calls_without_their_arguments(void **state)
{
    (void)state;
    const aegis_model_config nameless = {.path = "-"};
    const aegis_tensor_lifetime *lifetimes = NULL;
    aegis_model *model = NULL;
    aegis_error err = {0};
    size_t count = 77;
    open_bed();
    expect(aegis_model_open(the.backend, &nameless, &model, &err), AEGIS_ERROR_INVALID_ARGUMENT,
           &err, "a name and a path");
    expect(aegis_model_record(NULL, NULL, &err), AEGIS_ERROR_INVALID_ARGUMENT, &err, "no model");
    expect(aegis_model_estimate_memory(the.model, NULL, &err), AEGIS_ERROR_INVALID_ARGUMENT, &err,
           "a result");
    expect(aegis_model_estimate_lifetimes(the.model, NULL, &count, &err),
           AEGIS_ERROR_INVALID_ARGUMENT, &err, "results");
    expect(aegis_model_reset(NULL, &err), AEGIS_ERROR_INVALID_ARGUMENT, &err, "no model");
    expect(aegis_model_input(the.model, 0, "in", NULL, NULL, &err), AEGIS_ERROR_INVALID_ARGUMENT,
           &err, "results");
    expect(aegis_model_output(the.model, 0, "out", NULL, NULL, &err), AEGIS_ERROR_INVALID_ARGUMENT,
           &err, "results");
    assert_true(model == NULL && lifetimes == NULL && count == 77);
    close_bed();
}

static void places_that_do_not_fit(void **state)
{
    (void)state;
    char bytes[64];
    const aegis_memory_binding binding = {.placement_count = 1}, right = {.placement_count = 0};
    aegis_model_placement placement = {.base = bytes, .size_bytes = sizeof bytes};
    aegis_error err = {0};
    open_bed();
    expect(aegis_model_place(the.model, &placement, &err), AEGIS_ERROR_INVALID_ARGUMENT, &err,
           "a binding");
    placement.binding = &binding;
    expect(aegis_model_place(the.model, &placement, &err), AEGIS_ERROR_INVALID_ARGUMENT, &err,
           "has 0 tensors, the binding places 1");
    placement.binding = &right;
    the.said = AEGIS_ERROR_ENGINE_DESERIALIZE;
    expect(aegis_model_place(the.model, &placement, &err), AEGIS_ERROR_ENGINE_DESERIALIZE, &err,
           "model 'm': said so");
    the.said = AEGIS_ERROR_NO_MEMORY;
    expect(aegis_model_place(the.model, &placement, &err), AEGIS_ERROR_NO_MEMORY, &err,
           "model 'm': said so");
    the.placed = true;
    expect(aegis_model_place(the.model, &placement, &err), AEGIS_ERROR_STATE, &err,
           "placed already");
    expect(aegis_model_record(the.model, NULL, &err), AEGIS_ERROR_STATE, &err, "record it before");
    close_bed();
}

static void nothing_is_put_ahead(void **state)
{
    (void)state;
    aegis_error err = {0};
    open_bed();
    assert_false(aegis_model_can_go_ahead(the.model));
    expect(aegis_model_enqueue_ahead(the.model, 0, 0, NULL, &err), AEGIS_ERROR_UNSUPPORTED, &err,
           "model 'm'");
    expect(aegis_model_take_ahead(the.model, 0, 0, &err), AEGIS_ERROR_UNSUPPORTED, &err,
           "model 'm'");
    the.ops.enqueue_ahead = say_execute;
    the.ops.take_ahead = say_take_ahead;
    assert_true(aegis_model_can_go_ahead(the.model));
    the.said = AEGIS_ERROR_UNSUPPORTED;
    expect(aegis_model_enqueue_ahead(the.model, 0, 0, NULL, &err), AEGIS_ERROR_UNSUPPORTED, &err,
           "said so");
    the.said = AEGIS_ERROR_STATE;
    expect(aegis_model_take_ahead(the.model, 1, 0, &err), AEGIS_ERROR_STATE, &err, "said so");
    assert_true(aegis_model_ahead_has_halves(the.model));
    the.ops.ahead_has_halves = has_no_halves;
    assert_false(aegis_model_ahead_has_halves(the.model));
    close_bed();
}

/* ---- what a backend says ---- */

static void what_a_backend_says_comes_through(void **state)
{
    (void)state;
    static const aegis_status of_open[] = {AEGIS_ERROR_ENGINE_BUILD, AEGIS_ERROR_ENGINE_DESERIALIZE,
                                           AEGIS_ERROR_NOT_FOUND,    AEGIS_ERROR_INFERENCE,
                                           AEGIS_ERROR_IO,           AEGIS_ERROR_PERMISSION};
    static const aegis_status of_record[] = {AEGIS_ERROR_UNSUPPORTED, AEGIS_ERROR_DEPARTURE,
                                             AEGIS_ERROR_INFERENCE, AEGIS_ERROR_NO_MEMORY};
    aegis_model *model = NULL;
    aegis_error err = {0};
    open_bed();
    for (size_t i = 0; i < sizeof of_open / sizeof *of_open; i++) {
        the.said = of_open[i];
        expect(aegis_model_open(the.backend, &config, &model, &err), of_open[i], &err,
               "model 'm': said so");
        assert_null(model);
    }
    for (size_t i = 0; i < sizeof of_record / sizeof *of_record; i++) {
        the.said = of_record[i];
        expect(aegis_model_record(the.model, NULL, &err), of_record[i], &err, "model 'm': said so");
    }
    the.said = AEGIS_ERROR_ENGINE_DESERIALIZE;
    expect(aegis_model_execute(the.model, 0, 0, NULL, &err), the.said, &err, "said so");
    the.said = AEGIS_ERROR_DEVICE;
    expect(aegis_model_reset(the.model, &err), the.said, &err, "said so");
    the.said = AEGIS_ERROR_STATE;
    uint64_t bytes[AEGIS_MEMORY_CLASS_COUNT];
    expect(aegis_model_estimate_memory(the.model, bytes, &err), the.said, &err, "said so");
    close_bed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_that_are_not_whole),
        cmocka_unit_test(a_device_that_is_out_of_reach),
        cmocka_unit_test(runtimes_that_cannot_be_asked_for),
        cmocka_unit_test(calls_without_their_arguments),
        cmocka_unit_test(places_that_do_not_fit),
        cmocka_unit_test(nothing_is_put_ahead),
        cmocka_unit_test(what_a_backend_says_comes_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
