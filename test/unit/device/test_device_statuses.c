/* SPDX-License-Identifier: Apache-2.0 */
/* Statuses that device.h documents and that are not provoked on the way of other tests. */
#include <aegisrt/device.h>
#include <aegisrt/ext/cuda.h>

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NO_SUCH_INDEX 999

static aegis_device *make_device(void)
{
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_device_config config = {.kind = AEGIS_DEVICE_HOST, .arena_bytes = 65536};
    aegis_device *device = NULL;
    assert_int_equal(aegis_device_create(&config, &allocator, &device, NULL), AEGIS_OK);
    return device;
}

static aegis_stream *make_stream(aegis_device *device)
{
    const aegis_stream_config config = aegis_stream_config_default("status");
    aegis_stream *stream = NULL;
    assert_int_equal(aegis_stream_create(device, &config, &stream, NULL), AEGIS_OK);
    return stream;
}

static void devices_that_are_not_there(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    static const aegis_device_kind kinds[] = {AEGIS_DEVICE_HOST, AEGIS_DEVICE_CUDA};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const aegis_device_config config = {
            .kind = kinds[i], .index = NO_SUCH_INDEX, .arena_bytes = 65536};
        aegis_device_capabilities is;
        aegis_device *device = NULL;
        assert_int_equal(aegis_device_create(&config, &allocator, &device, NULL),
                         AEGIS_ERROR_DEVICE_NOT_AVAILABLE);
        assert_null(device);
        assert_int_equal(aegis_device_query(kinds[i], NO_SUCH_INDEX, false, &is, NULL),
                         AEGIS_ERROR_DEVICE_NOT_AVAILABLE);
    }
    assert_int_equal(aegis_device_query(AEGIS_DEVICE_HOST, 0, false, NULL, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_device_query_all(NULL, 1, NULL, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
}

static void nothing_is_no_stream(void **state)
{
    (void)state;
    struct CUstream_st *handle;
    aegis_buffer buffer;
    assert_int_equal(aegis_device_pinned_alloc(NULL, 64, 0, &buffer, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_stream_query(NULL, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_stream_synchronize(NULL, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_stream_synchronize_until(NULL, 0, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_stream_take_failure(NULL, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_stream_abandon(NULL, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_cuda_stream_handle(NULL, &handle, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_event_create(NULL, NULL, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_event_query(NULL, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_event_synchronize(NULL, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
}

static void wait_for_it(void *argument)
{
    while (sem_wait(argument) != 0) {
        /* EINTR */
    }
}

/* The event is looked at before the thread. */
static void an_event_that_waits_elsewhere(void **state)
{
    (void)state;
    sem_t gate;
    aegis_device *device = make_device();
    aegis_stream *first = make_stream(device), *second = make_stream(device);
    aegis_event *event = NULL;
    sem_init(&gate, 0, 0);
    assert_int_equal(aegis_event_create(device, &event, NULL), AEGIS_OK);
    assert_int_equal(aegis_stream_call(first, wait_for_it, &gate, NULL), AEGIS_OK);
    assert_int_equal(aegis_event_record(event, first, NULL), AEGIS_OK);
    assert_int_equal(aegis_stream_enqueue_record(second, event, NULL), AEGIS_ERROR_BUSY);
    sem_post(&gate);
    assert_int_equal(aegis_stream_synchronize(first, NULL), AEGIS_OK);
    assert_int_equal(aegis_stream_enqueue_record(second, event, NULL), AEGIS_ERROR_STATE);
    assert_int_equal(aegis_stream_enqueue_wait(second, event, NULL), AEGIS_ERROR_STATE);
    aegis_event_destroy(event);
    aegis_stream_destroy(first);
    aegis_stream_destroy(second);
    aegis_device_destroy(device);
    sem_destroy(&gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_that_are_not_there),
        cmocka_unit_test(nothing_is_no_stream),
        cmocka_unit_test(an_event_that_waits_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
