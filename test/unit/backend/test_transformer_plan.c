/* SPDX-License-Identifier: Apache-2.0 */
/* Partitions: what every strategy promises at every budget, and what is refused. */
#include "base/base.h"
#include "support/test_allocator.h"

#include <aegisrt/ext/partition_ops.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UNITS 12

/* Four layers of two matrices, a head, two tables: in two files, not in order. */
static void make_units(aegis_partition_unit units[UNITS], uint64_t scale)
{
    for (uint32_t u = 0; u < UNITS; u++) {
        units[u] = (aegis_partition_unit){.layer = u < 8    ? 1 + u / 2
                                                   : u == 8 ? 6
                                                            : 0,
                                          .rows = (uint32_t)(40 + 13 * u),
                                          .row_bytes = scale + 24 * u,
                                          .file = u % 2,
                                          .offset = 1000 + (uint64_t)(UNITS - u) * scale * 2000,
                                          .lookup = u > 8};
    }
    units[8].rows = 900;
}

static uint64_t begin_of(const aegis_partition_unit *units, const aegis_partition_piece *piece)
{
    return units[piece->unit].offset + units[piece->unit].row_bytes * piece->first;
}

/* By code of its own: coverage in order, sums, places inside buffers, extents around pieces. */
static void check_partition(const aegis_partition *plan, const aegis_partition_request *request)
{
    uint32_t unit = 0, row = 0, group = UINT32_MAX;
    uint64_t pinned = 0, streamed = 0, read = 0, largest = 0;
    for (uint32_t p = 0; p < plan->piece_count; p++) {
        const aegis_partition_piece *piece = &plan->pieces[p];
        const uint64_t bytes = request->units[piece->unit].row_bytes * piece->count;
        assert_int_equal(piece->unit, unit);
        assert_int_equal(piece->first, row);
        row += piece->count;
        assert_true(row <= request->units[unit].rows);
        if (row == request->units[unit].rows) {
            row = 0;
            unit++;
        }
        if (piece->group == AEGIS_PARTITION_PINNED) {
            assert_true(piece->offset >= pinned && piece->offset + bytes <= plan->pinned_bytes);
            pinned = piece->offset + bytes;
        } else if (piece->group == AEGIS_PARTITION_ON_DISK) {
            assert_true(request->units[piece->unit].lookup);
        } else {
            assert_true(piece->group == group || piece->group == group + 1);
            group = piece->group;
            streamed += bytes;
            const aegis_partition_group *of = &plan->groups[group];
            assert_true(p >= of->first_piece && p < of->first_piece + of->piece_count);
            bool found = false; /* the extent that reads it to its place */
            for (uint32_t e = of->first_extent; e < of->first_extent + of->extent_count; e++) {
                const aegis_partition_extent *extent = &plan->extents[e];
                const uint64_t at = begin_of(request->units, piece);
                found |= extent->file == request->units[piece->unit].file &&
                         at >= extent->file_offset &&
                         at + bytes <= extent->file_offset + extent->bytes &&
                         piece->offset == extent->buffer_offset + at - extent->file_offset;
            }
            assert_true(found);
        }
    }
    assert_int_equal(unit, request->unit_count);
    assert_int_equal(group + 1, plan->group_count);
    for (uint32_t g = 0; g < plan->group_count; g++) {
        uint64_t inside = 0;
        for (uint32_t e = 0; e < plan->groups[g].extent_count; e++) {
            const aegis_partition_extent *extent = &plan->extents[plan->groups[g].first_extent + e];
            assert_int_equal(extent->file_offset % AEGIS_PARTITION_BLOCK, 0);
            assert_int_equal(extent->bytes % AEGIS_PARTITION_BLOCK, 0);
            assert_int_equal(extent->buffer_offset, inside);
            inside += extent->bytes;
        }
        assert_int_equal(inside, plan->groups[g].buffer_bytes);
        read += inside;
        largest = inside > largest ? inside : largest;
    }
    assert_int_equal(plan->streamed_bytes, streamed);
    assert_int_equal(plan->read_bytes, read);
    assert_int_equal(plan->buffer_bytes, largest);
    assert_int_equal(plan->memory_bytes, plan->pinned_bytes + plan->buffers * largest);
    assert_true(plan->memory_bytes <= request->available_bytes);
}

static void every_strategy_keeps_every_budget(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_partition_unit units[UNITS];
    for (uint64_t scale = 64; scale <= 65536; scale *= 4) {
        make_units(units, scale);
        aegis_partition_request request = {
            .units = units, .unit_count = UNITS, .tile_bytes = 1 << 19};
        uint64_t model = 0;
        for (uint32_t u = 0; u < UNITS; u++) {
            model += units[u].row_bytes * units[u].rows;
        }
        const aegis_partition_strategy *strategy;
        for (uint32_t s = 0; (strategy = aegis_partition_strategy_at(s)) != NULL; s++) {
            uint32_t made = 0;
            for (uint32_t step = 0; step <= 60; step++) {
                request.available_bytes = model / 50 * step + 100;
                aegis_partition *plan = NULL;
                aegis_error error = {0};
                aegis_status status =
                    aegis_partition_plan(strategy, &request, &allocator, &plan, &error);
                if (status == AEGIS_OK) {
                    check_partition(plan, &request);
                    made++;
                } else {
                    assert_int_equal(status, AEGIS_ERROR_BUDGET_EXCEEDED);
                    assert_non_null(strstr(error.message, "needs"));
                    assert_null(plan);
                    assert_int_equal(made, 0); /* more memory never makes it worse */
                }
                aegis_partition_free(plan);
            }
            assert_true(made > 0);
        }
    }
}

static void least_bytes_are_enough(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_partition_unit units[UNITS];
    make_units(units, 4096);
    aegis_partition_request request = {.units = units, .unit_count = UNITS, .tile_bytes = 1 << 19};
    request.available_bytes = aegis_partition_least_bytes(&request);
    aegis_partition *plan = NULL;
    assert_int_equal(aegis_partition_plan(aegis_partition_strategy_find("auto"), &request,
                                          &allocator, &plan, NULL),
                     AEGIS_OK);
    check_partition(plan, &request);
    aegis_partition_free(plan);
    request.available_bytes -= AEGIS_PARTITION_BLOCK;
    aegis_error error = {0};
    assert_int_equal(aegis_partition_plan(aegis_partition_strategy_find("auto"), &request,
                                          &allocator, &plan, &error),
                     AEGIS_ERROR_BUDGET_EXCEEDED);
}

static aegis_partition *plan_with(const char *name, const aegis_partition_request *request)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_partition *plan = NULL;
    assert_int_equal(
        aegis_partition_plan(aegis_partition_strategy_find(name), request, &allocator, &plan, NULL),
        AEGIS_OK);
    return plan;
}

static void strategies_are_what_they_are_called(void **state)
{
    (void)state;
    aegis_partition_unit units[UNITS];
    make_units(units, 65536);
    uint64_t computed = 0;
    for (uint32_t u = 0; u <= 8; u++) {
        computed += units[u].row_bytes * units[u].rows;
    }
    aegis_partition_request request = {.units = units, .unit_count = UNITS, .tile_bytes = 1 << 19};
    request.available_bytes = computed / 2;
    aegis_partition *sequential = plan_with("sequential", &request);
    aegis_partition *greedy = plan_with("greedy-grouping", &request);
    aegis_partition *prefetch = plan_with("speculative-prefetch", &request);
    aegis_partition *resident = plan_with("resident-stream", &request);
    assert_int_equal(sequential->buffers, 1);
    assert_int_equal(sequential->pinned_bytes, 0);
    assert_true(sequential->memory_bytes < greedy->memory_bytes);
    assert_true(greedy->group_count < sequential->group_count);
    assert_int_equal(greedy->buffers, 1);
    assert_int_equal(prefetch->buffers, 2);
    assert_true(resident->pinned_bytes > 0 && resident->buffers >= 3);
    /* All but the resident one read everything; that one reads model minus resident, and little of
     * the memory is left over. */
    assert_int_equal(sequential->streamed_bytes, computed);
    assert_int_equal(greedy->streamed_bytes, computed);
    assert_int_equal(prefetch->streamed_bytes, computed);
    assert_true(resident->streamed_bytes <= computed - resident->pinned_bytes + 64 * 9);
    assert_true(resident->memory_bytes + 2 * ((uint64_t)1 << 19) >= request.available_bytes);
    assert_true((double)resident->read_bytes <= 1.02 * (double)resident->streamed_bytes);
    aegis_partition_free(resident);
    aegis_partition_free(prefetch);
    aegis_partition_free(greedy);
    aegis_partition_free(sequential);
}

static void the_cost_model_chooses(void **state)
{
    (void)state;
    aegis_partition_unit units[UNITS];
    make_units(units, 16384);
    aegis_partition_request request = {.units = units,
                                       .unit_count = UNITS,
                                       .tile_bytes = 1 << 18,
                                       .available_bytes = 20 << 20,
                                       .disk_rate = 1e8,
                                       .memory_rate = 1e10};
    aegis_partition *chosen = plan_with("auto", &request);
    assert_string_equal(chosen->strategy, "resident-stream");
    assert_true(chosen->estimated_token_s > 0);
    const aegis_partition_strategy *other;
    for (uint32_t s = 0; (other = aegis_partition_strategy_at(s)) != NULL; s++) {
        aegis_partition *plan = plan_with(other->name, &request);
        assert_true(chosen->estimated_token_s <= plan->estimated_token_s);
        aegis_partition_free(plan);
    }
    aegis_partition_free(chosen);
}

/* --- a strategy of somebody else
 * ------------------------------------------------------------------ */

typedef struct own {
    int fault;
} own;

static aegis_status plan_own(void *self,
                             const aegis_partition_request *request,
                             aegis_partition_builder *builder,
                             aegis_error *err)
{
    const own *how = self;
    aegis_status status = AEGIS_OK;
    if (how->fault == 1) {
        return AEGIS_OK; /* leaves everything out */
    }
    if (how->fault == 2) {
        return aegis_partition_stream(builder, 1, err); /* without buffers */
    }
    if (how->fault == 3) {
        return aegis_partition_pin(builder, request->units[0].rows + 1, err);
    }
    if (how->fault == 4) {
        return aegis_partition_leave(builder, err); /* no lookup table */
    }
    if (how->fault == 5) {
        return aegis_partition_set_buffers(builder, 65, err);
    }
    for (uint32_t u = 0; status == AEGIS_OK && u < request->unit_count; u++) {
        status = request->units[u].lookup
                     ? aegis_partition_leave(builder, err)
                     : aegis_partition_pin(builder, request->units[u].rows, err);
    }
    return status;
}

static void own_strategies_are_verified(void **state)
{
    (void)state;
    static const aegis_status expected[] = {AEGIS_OK,
                                            AEGIS_ERROR_INTERNAL,
                                            AEGIS_ERROR_INVALID_ARGUMENT,
                                            AEGIS_ERROR_INVALID_ARGUMENT,
                                            AEGIS_ERROR_INVALID_ARGUMENT,
                                            AEGIS_ERROR_INVALID_ARGUMENT};
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_partition_unit units[UNITS];
    make_units(units, 256);
    aegis_partition_request request = {
        .units = units, .unit_count = UNITS, .tile_bytes = 4096, .available_bytes = 1 << 30};
    for (int fault = 0; fault < 6; fault++) {
        own self = {fault};
        const aegis_partition_strategy strategy = {1, "own", plan_own, &self};
        aegis_partition *plan = NULL;
        assert_int_equal(aegis_partition_plan(&strategy, &request, &allocator, &plan, NULL),
                         expected[fault]);
        if (fault == 0) {
            check_partition(plan, &request);
            assert_string_equal(plan->strategy, "own");
        }
        aegis_partition_free(plan);
    }
    own self = {0};
    const aegis_partition_strategy old = {0, "own", plan_own, &self},
                                   good = {1, "own", plan_own, &self};
    aegis_partition *plan = NULL;
    assert_int_equal(aegis_partition_plan(&old, &request, &allocator, &plan, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    request.available_bytes = 1000;
    assert_int_equal(aegis_partition_plan(&good, &request, &allocator, &plan, NULL),
                     AEGIS_ERROR_BUDGET_EXCEEDED);
    request.unit_count = 0;
    assert_int_equal(aegis_partition_plan(&good, &request, &allocator, &plan, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_null(plan);
    aegis_partition_free(NULL);
}

typedef enum way {
    PIN,
    STREAM,
    LEAVE
} way;

/* Leaving a table needs memory only where the array of pieces is full. */
static aegis_status plan_one(void *self,
                             const aegis_partition_request *request,
                             aegis_partition_builder *builder,
                             aegis_error *err)
{
    const way *how = self;
    const uint32_t rows = request->units[0].rows;
    aegis_status status = aegis_partition_set_buffers(builder, 2, err);
    for (uint32_t at = 0; *how != STREAM && at < rows && status == AEGIS_OK; at++) {
        status = aegis_partition_pin(builder, 1, err); /* they fill the first array of pieces */
    }
    if (*how == STREAM && status == AEGIS_OK) {
        status = aegis_partition_stream(builder, rows, err);
    }
    if (status == AEGIS_OK) {
        status = *how == LEAVE ? aegis_partition_leave(builder, err)
                               : aegis_partition_pin(builder, request->units[1].rows, err);
    }
    return status;
}

static void plans_without_memory_leak_nothing(void **state)
{
    (void)state;
    for (way how = PIN; how <= LEAVE; how++) {
        static const aegis_partition_unit two[] = {{.rows = 64, .row_bytes = 64},
                                                   {.rows = 8, .row_bytes = 64, .lookup = true}};
        const aegis_partition_request request = {
            .units = two, .unit_count = 2, .tile_bytes = 4096, .available_bytes = 1 << 20};
        const aegis_partition_strategy strategy = {1, "one", plan_one, &how};
        bool passed = false;
        for (uint64_t fail_at = 1; !passed; fail_at++) {
            test_allocator counter = {.fail_at = fail_at};
            const aegis_allocator allocator = test_allocator_make(&counter);
            aegis_partition *plan = NULL;
            const aegis_status status =
                aegis_partition_plan(&strategy, &request, &allocator, &plan, NULL);
            passed = counter.calls < fail_at;
            assert_int_equal(status, passed ? AEGIS_OK : AEGIS_ERROR_NO_MEMORY);
            assert_true((plan != NULL) == passed);
            aegis_partition_free(plan);
            assert_int_equal(counter.blocks, 0);
            assert_int_equal(counter.wrong_sizes, 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_strategy_keeps_every_budget),
        cmocka_unit_test(least_bytes_are_enough),
        cmocka_unit_test(strategies_are_what_they_are_called),
        cmocka_unit_test(the_cost_model_chooses),
        cmocka_unit_test(own_strategies_are_verified),
        cmocka_unit_test(plans_without_memory_leak_nothing),
    };
    return cmocka_run_group_tests_name("transformer plan", tests, NULL, NULL);
}
