/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of a model on a device that no plan covers: who asks as before gets the same addresses,
 * and what captured work may still read is not handed out again. */
#include "backend/onnxruntime/heap.h"

#include "support/placed_model.h"
#include "support/test_allocator.h"

static aegis_ort_heap make(void)
{
    aegis_ort_heap heap;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_ort_heap_init(&heap, AEGIS_ORT_HEAP_HOST, NULL, &allocator);
    return heap;
}

static void the_same_requests_get_the_same_blocks(void **state)
{
    (void)state;
    aegis_ort_heap heap = make();
    void *first[3], *second[3];
    static const uint64_t sizes[] = {100, 0, 4096};
    for (int i = 0; i < 3; i++) {
        first[i] = aegis_ort_heap_alloc(&heap, sizes[i], 0, NULL);
        assert_non_null(first[i]);
        assert_int_equal((uintptr_t)first[i] % 256, 0);
    }
    uint64_t taken = heap.taken_bytes;
    assert_int_equal(taken, 256 + 256 + 4096);
    for (int i = 0; i < 3; i++) {
        assert_true(aegis_ort_heap_free(&heap, first[i]));
        assert_false(aegis_ort_heap_free(&heap, first[i]));
    }
    for (int i = 0; i < 3; i++) {
        second[i] = aegis_ort_heap_alloc(&heap, sizes[i], 0, NULL);
        assert_ptr_equal(first[i], second[i]);
    }
    assert_int_equal(heap.taken_bytes, taken);
    assert_int_equal(heap.requests, 6);
    assert_ptr_not_equal(aegis_ort_heap_alloc(&heap, 100, 0, NULL), first[0]);
    aegis_ort_heap_finish(&heap);
}

static void blocks_are_described_out_of_band(void **state)
{
    (void)state;
    aegis_ort_heap heap = make();
    int owner;
    void *block = aegis_ort_heap_alloc(&heap, 64, 7, &owner);
    const aegis_ort_heap_block *found = aegis_ort_heap_find(&heap, block);
    assert_non_null(found);
    assert_int_equal(found->size_bytes, 64);
    assert_int_equal(found->tag, 7);
    assert_ptr_equal(found->owner, &owner);
    assert_null(aegis_ort_heap_find(&heap, (char *)block + 64));
    assert_false(aegis_ort_heap_free(&heap, &owner));
    assert_true(aegis_ort_heap_free(&heap, block));
    assert_null(aegis_ort_heap_find(&heap, block));
    aegis_ort_heap_finish(&heap);
}

static void what_is_held_is_not_handed_out(void **state)
{
    (void)state;
    aegis_ort_heap heap = make();
    void *captured = aegis_ort_heap_alloc(&heap, 64, 0, NULL);
    memcpy(captured, "argument", 9);
    heap.hold = true;
    assert_true(aegis_ort_heap_free(&heap, captured));
    heap.hold = false;
    void *other = aegis_ort_heap_alloc(&heap, 64, 0, NULL);
    assert_ptr_not_equal(captured, other);
    aegis_ort_heap_trim(&heap);
    assert_string_equal(captured, "argument");
    aegis_ort_heap_unhold(&heap);
    assert_ptr_equal(aegis_ort_heap_alloc(&heap, 64, 0, NULL), captured);
    aegis_ort_heap_finish(&heap);
}

static void trim_gives_back_what_is_not_used(void **state)
{
    (void)state;
    aegis_ort_heap heap = make();
    void *kept = NULL;
    for (int i = 0; i < 300; i++) { /* past the first table */
        void *block = aegis_ort_heap_alloc(&heap, 1024, 0, NULL);
        memset(block, i, 1024);
        kept = i == 299 ? block : kept;
    }
    for (size_t i = 0; i < 299; i++) {
        assert_true(aegis_ort_heap_free(&heap, heap.blocks[i].pointer));
    }
    assert_int_equal(heap.peak_bytes, 300 * 1024);
    aegis_ort_heap_trim(&heap);
    assert_int_equal(heap.taken_bytes, 1024);
    assert_int_equal(heap.count, 1);
    assert_ptr_equal(heap.blocks[0].pointer, kept);
    assert_int_equal(((unsigned char *)kept)[1023], 299 % 256);
    aegis_ort_heap_finish(&heap);
    assert_int_equal(heap.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_requests_get_the_same_blocks),
        cmocka_unit_test(blocks_are_described_out_of_band),
        cmocka_unit_test(what_is_held_is_not_handed_out),
        cmocka_unit_test(trim_gives_back_what_is_not_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
