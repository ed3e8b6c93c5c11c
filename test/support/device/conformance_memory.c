/* SPDX-License-Identifier: Apache-2.0 */
#include "support/device/conformance.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void capabilities_are_sane(conformance_case *test)
{
    const aegis_device_capabilities *is = aegis_device_get_capabilities(test->device);
    REQUIRE(test, is != NULL);
    CHECK(test, is->kind == AEGIS_DEVICE_HOST || is->kind == AEGIS_DEVICE_CUDA);
    CHECK(test, is->name[0] != '\0');
    CHECK(test, is->multiprocessor_count >= 1);
    CHECK(test, is->total_memory_bytes >= CONFORMANCE_ARENA_BYTES);
    CHECK(test, is->stream_priorities >= 1);
    CHECK(test, is->free_memory_bytes <= is->total_memory_bytes);
}

static void arena_has_the_size_asked_for(conformance_case *test)
{
    void *base = NULL;
    uint64_t size = 0;
    aegis_device_get_arena(test->device, &base, &size);
    CHECK(test, base != NULL);
    CHECK(test, size == CONFORMANCE_ARENA_BYTES);
}

static void arena_beyond_the_machine_is_refused(conformance_case *test)
{
    aegis_allocator allocator = conformance_allocator(&test->heap);
    aegis_device *device = NULL;
    aegis_error err;
    aegis_error_clear(&err);
    CHECK(test, test->target->create(test->target->self, UINT64_C(1) << 56, &allocator, &device,
                                     &err) == AEGIS_ERROR_NO_MEMORY);
    CHECK(test, device == NULL);
    CHECK(test, err.status == AEGIS_ERROR_NO_MEMORY && err.message[0] != '\0');
}

static void alloc_aligns_and_keeps_apart(conformance_case *test)
{
    static const uint64_t alignments[] = {0, 1, 2, 64, 256, 4096, 8, 1024};
    enum {
        COUNT = 64
    };
    aegis_buffer buffers[COUNT];
    void *base;
    uint64_t size;
    aegis_device_get_arena(test->device, &base, &size);
    for (size_t i = 0; i < COUNT; i++) {
        uint64_t alignment = alignments[i % 8], bytes = 1 + i * 37;
        REQUIRE(test,
                aegis_device_alloc(test->device, bytes, alignment, &buffers[i], NULL) == AEGIS_OK);
        uint64_t effective = alignment == 0 ? 64 : alignment;
        CHECK(test, (uintptr_t)buffers[i].pointer % effective == 0);
        CHECK(test, (uintptr_t)buffers[i].pointer == (uintptr_t)base + buffers[i].offset_bytes);
        CHECK(test, buffers[i].size_bytes == bytes && buffers[i].offset_bytes + bytes <= size);
        for (size_t j = 0; j < i; j++) {
            CHECK(test,
                  buffers[i].offset_bytes >= buffers[j].offset_bytes + buffers[j].size_bytes ||
                      buffers[j].offset_bytes >= buffers[i].offset_bytes + bytes);
        }
    }
    for (size_t i = 0; i < COUNT; i++) {
        CHECK(test, aegis_device_free(test->device, &buffers[i], NULL) == AEGIS_OK);
    }
}

static void alloc_refuses_bad_arguments(conformance_case *test)
{
    aegis_buffer buffer = {.offset_bytes = 7};
    CHECK(test,
          aegis_device_alloc(test->device, 0, 64, &buffer, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test,
          aegis_device_alloc(test->device, 64, 3, &buffer, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_device_alloc(test->device, 64, 8192, &buffer, NULL) ==
                    AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_device_alloc(NULL, 64, 64, &buffer, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test,
          aegis_device_alloc(test->device, 64, 64, NULL, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test,
          aegis_device_alloc(test->device, UINT64_MAX, 64, &buffer, NULL) == AEGIS_ERROR_NO_MEMORY);
    CHECK(test, buffer.offset_bytes == 7);
}

static void arena_is_a_hard_limit(conformance_case *test)
{
    aegis_buffer all, half, more;
    aegis_error err;
    aegis_error_clear(&err);
    REQUIRE(test,
            aegis_device_alloc(test->device, CONFORMANCE_ARENA_BYTES, 1, &all, NULL) == AEGIS_OK);
    CHECK(test, aegis_device_alloc(test->device, 1, 1, &more, &err) == AEGIS_ERROR_NO_MEMORY);
    CHECK(test, err.category == AEGIS_CATEGORY_PERMANENT);
    CHECK(test, strstr(err.message, "largest hole 0") != NULL);
    REQUIRE(test, aegis_device_free(test->device, &all, NULL) == AEGIS_OK);
    REQUIRE(test, aegis_device_alloc(test->device, CONFORMANCE_ARENA_BYTES / 2, 1, &half, NULL) ==
                      AEGIS_OK);
    CHECK(test, aegis_device_alloc(test->device, CONFORMANCE_ARENA_BYTES / 2 + 1, 1, &more, NULL) ==
                    AEGIS_ERROR_NO_MEMORY);
    CHECK(test, aegis_device_free(test->device, &half, NULL) == AEGIS_OK);
}

static void free_refuses_what_is_not_taken(conformance_case *test)
{
    aegis_buffer buffer, wrong;
    REQUIRE(test, aegis_device_alloc(test->device, 1000, 0, &buffer, NULL) == AEGIS_OK);
    wrong = buffer;
    wrong.size_bytes--;
    CHECK(test, aegis_device_free(test->device, &wrong, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    wrong = buffer;
    wrong.offset_bytes += 64;
    CHECK(test, aegis_device_free(test->device, &wrong, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    wrong = buffer;
    wrong.pointer = &wrong;
    CHECK(test, aegis_device_free(test->device, &wrong, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_device_free(test->device, NULL, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_device_free(test->device, &buffer, NULL) == AEGIS_OK);
    CHECK(test, aegis_device_free(test->device, &buffer, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
}

static void usage_counts_now_and_peak(conformance_case *test)
{
    aegis_buffer first, second;
    uint64_t used = 1, peak = 1;
    aegis_device_usage(test->device, &used, &peak);
    CHECK(test, used == 0 && peak == 0);
    REQUIRE(test, aegis_device_alloc(test->device, 1000, 0, &first, NULL) == AEGIS_OK);
    REQUIRE(test, aegis_device_alloc(test->device, 500, 0, &second, NULL) == AEGIS_OK);
    CHECK(test, aegis_device_free(test->device, &first, NULL) == AEGIS_OK);
    aegis_device_usage(test->device, &used, &peak);
    CHECK(test, used == 500 && peak == 1500);
    CHECK(test, aegis_device_free(test->device, &second, NULL) == AEGIS_OK);
    aegis_device_usage(test->device, &used, &peak);
    CHECK(test, used == 0 && peak == 1500);
}

static void copy_round_trips(conformance_case *test)
{
    enum {
        SIZE = 100003
    };
    unsigned char *out = malloc(SIZE), *in = calloc(1, SIZE);
    aegis_buffer first, second;
    if (CHECK(test, out != NULL && in != NULL) &&
        CHECK(test, aegis_device_alloc(test->device, SIZE, 0, &first, NULL) == AEGIS_OK) &&
        CHECK(test, aegis_device_alloc(test->device, SIZE, 0, &second, NULL) == AEGIS_OK)) {
        for (size_t i = 0; i < SIZE; i++) {
            out[i] = (unsigned char)(i * 31 + 7);
        }
        CHECK(test, aegis_device_copy(test->device, first.pointer, out, SIZE, NULL) == AEGIS_OK);
        CHECK(test, aegis_device_copy(test->device, second.pointer, first.pointer, SIZE, NULL) ==
                        AEGIS_OK);
        CHECK(test, aegis_device_copy(test->device, in, second.pointer, SIZE, NULL) == AEGIS_OK);
        CHECK(test, memcmp(in, out, SIZE) == 0);
        if (aegis_device_host_addressable(test->device)) {
            CHECK(test, memcmp(second.pointer, out, SIZE) == 0);
        }
    }
    free(out);
    free(in);
}

static void copy_refuses_bad_ranges(conformance_case *test)
{
    void *base;
    uint64_t size;
    char byte[2] = {0};
    aegis_device_get_arena(test->device, &base, &size);
    char *last = (char *)base + size - 1;
    CHECK(test,
          aegis_device_copy(test->device, last, byte, 2, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test,
          aegis_device_copy(test->device, byte, last, 2, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_device_copy(test->device, last, byte, 1, NULL) == AEGIS_OK);
    CHECK(test,
          aegis_device_copy(test->device, NULL, byte, 1, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test,
          aegis_device_copy(test->device, base, NULL, 1, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_device_copy(NULL, base, byte, 1, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_device_copy(test->device, base, byte, 0, NULL) == AEGIS_OK);
}

static void pinned_memory_is_a_region_of_its_own(conformance_case *test)
{
    void *base = test, *arena;
    uint64_t size = 1, arena_size, used, peak, wanted = test->target->pinned_bytes;
    aegis_buffer first = {0}, second = {0}, more = {0};
    aegis_error err;
    aegis_error_clear(&err);
    aegis_device_get_pinned(test->device, &base, &size);
    aegis_device_get_arena(test->device, &arena, &arena_size);
    REQUIRE(test, size == wanted && (base != NULL) == (wanted > 0));
    if (wanted == 0) {
        CHECK(test,
              aegis_device_pinned_alloc(test->device, 64, 0, &more, &err) == AEGIS_ERROR_NO_MEMORY);
        CHECK(test, strstr(err.message, "pinned_bytes") != NULL);
        CHECK(test,
              aegis_device_pinned_free(test->device, &more, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
        return;
    }
    CHECK(test, (char *)base + size <= (char *)arena || (char *)arena + arena_size <= (char *)base);
    REQUIRE(test, aegis_device_pinned_alloc(test->device, 1000, 4096, &first, NULL) == AEGIS_OK);
    REQUIRE(test, aegis_device_pinned_alloc(test->device, size / 2, 0, &second, NULL) == AEGIS_OK);
    CHECK(test, (uintptr_t)first.pointer % 4096 == 0);
    CHECK(test, (char *)second.pointer >= (char *)first.pointer + 1000);
    CHECK(test,
          aegis_device_pinned_alloc(test->device, size, 0, &more, &err) == AEGIS_ERROR_NO_MEMORY);
    CHECK(test, strstr(err.message, "[device] pinned") != NULL);
    memset(first.pointer, 0x5a, 1000); /* host code may */
    CHECK(test, aegis_device_free(test->device, &first, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    aegis_device_pinned_usage(test->device, &used, &peak);
    CHECK(test, used == 1000 + size / 2 && peak == used);
    CHECK(test, aegis_device_pinned_free(test->device, &first, NULL) == AEGIS_OK);
    CHECK(test,
          aegis_device_pinned_free(test->device, &first, NULL) == AEGIS_ERROR_INVALID_ARGUMENT);
    CHECK(test, aegis_device_pinned_free(test->device, &second, NULL) == AEGIS_OK);
    CHECK(test, aegis_device_pinned_alloc(test->device, size, 0, &more, NULL) == AEGIS_OK);
}

/* The n-th allocation of a whole set-up fails, for n = 1, 2, ... until all succeed. */
static void every_allocation_may_fail(conformance_case *test)
{
    bool complete = false;
    for (long n = 1; n < 100 && !complete; n++) {
        conformance_heap heap = {.fail_at = n};
        aegis_allocator allocator = conformance_allocator(&heap);
        aegis_stream_config config = aegis_stream_config_default("failing");
        aegis_device *device = NULL;
        aegis_stream *stream = NULL;
        aegis_event *event = NULL;
        aegis_buffer buffer = {0};
        aegis_status status =
            test->target->create(test->target->self, 65536, &allocator, &device, NULL);
        if (status == AEGIS_OK) {
            status = aegis_stream_create(device, &config, &stream, NULL);
        }
        if (status == AEGIS_OK) {
            status = aegis_event_create(device, &event, NULL);
        }
        if (status == AEGIS_OK) {
            status = aegis_device_alloc(device, 100, 4096, &buffer, NULL);
        }
        complete = status == AEGIS_OK;
        CHECK(test, complete || status == AEGIS_ERROR_NO_MEMORY);
        CHECK(test, complete == (heap.calls < n));
        if (device != NULL) { /* still usable */
            heap.fail_at = 0;
            aegis_buffer again;
            CHECK(test, aegis_device_alloc(device, 100, 4096, &again, NULL) == AEGIS_OK);
        }
        aegis_event_destroy(event);
        aegis_stream_destroy(stream);
        aegis_device_destroy(device);
        CHECK(test, heap.live_blocks == 0 && heap.live_bytes == 0);
    }
    CHECK(test, complete);
}

const conformance_entry conformance_memory_cases[] = {
    {"capabilities_are_sane", capabilities_are_sane},
    {"arena_has_the_size_asked_for", arena_has_the_size_asked_for},
    {"arena_beyond_the_machine_is_refused", arena_beyond_the_machine_is_refused},
    {"alloc_aligns_and_keeps_apart", alloc_aligns_and_keeps_apart},
    {"alloc_refuses_bad_arguments", alloc_refuses_bad_arguments},
    {"arena_is_a_hard_limit", arena_is_a_hard_limit},
    {"free_refuses_what_is_not_taken", free_refuses_what_is_not_taken},
    {"usage_counts_now_and_peak", usage_counts_now_and_peak},
    {"copy_round_trips", copy_round_trips},
    {"copy_refuses_bad_ranges", copy_refuses_bad_ranges},
    {"pinned_memory_is_a_region_of_its_own", pinned_memory_is_a_region_of_its_own},
    {"every_allocation_may_fail", every_allocation_may_fail},
    {NULL, NULL},
};
