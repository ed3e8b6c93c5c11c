/* SPDX-License-Identifier: Apache-2.0 */
/* ext/cuda_graph.h without a CUDA device: a build without CUDA says so, one with it that the host's
 * stream or device is none of CUDA's. What takes a device is in test/gpu/test_captures.c. */
#include <aegisrt/ext/cuda_graph.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#ifdef AEGISRT_HAVE_CUDA
#define WANTED AEGIS_ERROR_UNSUPPORTED
#else
#define WANTED AEGIS_ERROR_DEVICE_NOT_AVAILABLE
#endif

static void is_refused(aegis_status status, const aegis_error *err)
{
    assert_int_equal(status, WANTED);
    assert_int_equal(err->status, WANTED);
    assert_int_equal(err->category, AEGIS_CATEGORY_PERMANENT);
    assert_non_null(strstr(err->message, "CUDA"));
}

static void the_host_has_nothing_of_cuda(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_device_config config = {.kind = AEGIS_DEVICE_HOST, .arena_bytes = 65536};
    const aegis_stream_config lane = aegis_stream_config_default("lane");
    aegis_device *device = NULL;
    aegis_stream *stream = NULL;
    aegis_cuda_graph *graph = NULL;
    aegis_cuda_graph_info info = {.nodes = 77};
    void *memory = NULL;
    uint64_t used = 77;
    aegis_error err = {0};
    assert_int_equal(aegis_device_create(&config, &allocator, &device, NULL), AEGIS_OK);
    assert_int_equal(aegis_stream_create(device, &lane, &stream, NULL), AEGIS_OK);
    is_refused(aegis_cuda_capture_begin(stream, &err), &err);
    is_refused(aegis_cuda_capture_end(stream, &allocator, &graph, &info, &err), &err);
    is_refused(aegis_cuda_memory_alloc(device, 4096, &memory, &err), &err);
    is_refused(aegis_cuda_memory_in_use(device, &used, &err), &err);
    assert_true(graph == NULL && memory == NULL && info.nodes == 77 && used == 77);
    aegis_cuda_memory_free(device, NULL);
    aegis_cuda_graph_destroy(NULL);
    aegis_stream_destroy(stream);
    aegis_device_destroy(device);
}

/* There are no graphs to launch: only a build without CUDA can be asked. */
static void no_graph_is_launched(void **state)
{
    (void)state;
#ifdef AEGISRT_HAVE_CUDA
    skip();
#else
    aegis_error err = {0};
    is_refused(aegis_cuda_graph_launch(NULL, &err), &err);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_host_has_nothing_of_cuda),
        cmocka_unit_test(no_graph_is_launched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
