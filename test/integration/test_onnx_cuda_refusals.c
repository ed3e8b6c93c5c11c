/* SPDX-License-Identifier: Apache-2.0 */
/* What ONNX Runtime's backend says on a CUDA device that it cannot use. The device is made up: it
 * answers as one of CUDA does. With AEGISRT_ONNXRUNTIME naming a library that has a CUDA provider,
 * what that provider misses is told. */
#include "integration/onnx_models.h"

#include <aegisrt/ext/device_ops.h>

static unsigned char memory[4096];

static void destroy(void *self)
{
    (void)self;
}

static const aegis_device_capabilities *capabilities(void *self)
{
    static const aegis_device_capabilities is = {.kind = AEGIS_DEVICE_CUDA,
                                                 .name = "made up",
                                                 .multiprocessor_count = 1,
                                                 .stream_priorities = 1,
                                                 .total_memory_bytes = sizeof memory};
    (void)self;
    return &is;
}

static bool host_addressable(void *self)
{
    (void)self;
    return false;
}

static void arena(void *self, void **ret_base, uint64_t *ret_size)
{
    (void)self;
    *ret_base = memory;
    *ret_size = sizeof memory;
}

static aegis_status
copy(void *self, void *destination, const void *source, size_t size, aegis_error *err)
{
    (void)self;
    (void)err;
    memcpy(destination, source, size);
    return AEGIS_OK;
}

static aegis_status
create_stream(void *self, const aegis_stream_config *config, void **ret, aegis_error *err)
{
    (void)self;
    (void)config;
    (void)err;
    *ret = memory;
    return AEGIS_OK;
}

static aegis_status
call(void *stream, aegis_stream_function function, void *argument, aegis_error *err)
{
    (void)stream;
    (void)err;
    function(argument);
    return AEGIS_OK;
}

static aegis_status nothing(void *stream, aegis_error *err)
{
    (void)stream;
    (void)err;
    return AEGIS_OK;
}

static aegis_status nothing_with(void *stream, void *event, aegis_error *err)
{
    (void)event;
    return nothing(stream, err);
}

static void *native(void *stream)
{
    return stream;
}

static aegis_status create_event(void *self, void **ret_event, aegis_error *err)
{
    (void)self;
    (void)err;
    *ret_event = memory;
    return AEGIS_OK;
}

static aegis_status elapsed(void *start, void *end, int64_t *ret_ns, aegis_error *err)
{
    (void)end;
    *ret_ns = 0;
    return nothing(start, err);
}

static const aegis_device_ops made_up = {.version = AEGIS_DEVICE_OPS_VERSION,
                                         .name = "made up",
                                         .destroy = destroy,
                                         .capabilities = capabilities,
                                         .host_addressable = host_addressable,
                                         .arena = arena,
                                         .copy = copy,
                                         .stream_create = create_stream,
                                         .stream_destroy = destroy,
                                         .stream_call = call,
                                         .stream_notify = call,
                                         .stream_copy = copy,
                                         .stream_synchronize = nothing,
                                         .stream_query = nothing,
                                         .stream_wait_event = nothing_with,
                                         .stream_native = native,
                                         .event_create = create_event,
                                         .event_destroy = destroy,
                                         .event_record = nothing_with,
                                         .event_query = nothing,
                                         .event_synchronize = nothing,
                                         .event_elapsed_ns = elapsed};

static aegis_device *device;

static void the_message_names_the_cure(void **state)
{
    (void)state;
    aegis_error err;
    char cache[1024];
    aegis_backend *backend = NULL;
    aegis_allocator allocator = aegis_allocator_default();
    onnx_cache_dir(cache, sizeof cache);
    aegis_backend_config config = {
        .runtime = "onnxruntime", .cache_dir = cache, .consumer = "door-camera"};
    aegis_status status = aegis_backend_create(&config, device, &allocator, &backend, &err);
    if (status == AEGIS_OK) { /* a driver, and the library for it: nothing to refuse here */
        aegis_backend_destroy(backend);
        skip();
    }
    print_message("%s\n", err.message);
    assert_int_equal(status, AEGIS_ERROR_RUNTIME_NOT_AVAILABLE);
    assert_null(backend);
    if (strstr(err.message, "no CUDA provider") != NULL) {
        assert_non_null(strstr(err.message, "door-camera"));
        assert_non_null(strstr(err.message, "AEGISRT_ONNXRUNTIME"));
        assert_non_null(strstr(err.message, "kind = \"host\""));
    } else if (strstr(err.message, "cannot be opened") == NULL) { /* there is a provider */
        assert_non_null(strstr(err.message, "LD_LIBRARY_PATH"));
        assert_non_null(strstr(err.message, "cannot be loaded ("));
    }
}

/* What could not be used leaves nothing behind that another backend would stumble on. */
static void the_host_works_on(void **state)
{
    (void)state;
    aegis_backend *backend = onnx_backend(NULL);
    if (backend == NULL) {
        skip();
    }
    if (onnx_there("light_squeezenet")) {
        aegis_error err;
        aegis_model *model = onnx_open(backend, "light_squeezenet");
        must(aegis_model_execute(model, 0, 0, NULL, &err), &err);
        assert_string_equal(aegis_model_note(model), "");
        aegis_model_close(model);
    }
    aegis_backend_destroy(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_message_names_the_cure),
        cmocka_unit_test(the_host_works_on),
    };
    aegis_error err;
    aegis_allocator allocator = aegis_allocator_default();
    if (aegis_device_wrap(&made_up, memory, &allocator, &device, &err) != AEGIS_OK) {
        print_error("%s\n", err.message);
        return 1;
    }
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    aegis_device_destroy(device);
    return failures;
}
