/* SPDX-License-Identifier: Apache-2.0 */
/* What a block of a prompt takes in a GPU's memory, byte by byte, and the pieces in which the
 * weights of a layer are unpacked: each unit once, whole tiles, never more than the scratch holds.
 */
#include "backend/transformer/cuda/prompt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define MIB ((uint64_t)1 << 20)
#define ALIGNMENT 256u
#define SCRATCH_BYTES (16 * MIB)

static const uint32_t types[] = {AEGIS_DECODE_F32, AEGIS_DECODE_F16, AEGIS_DECODE_BF16};

typedef struct shape {
    uint32_t width, heads, kv_heads, head_width, feed_forward;
    bool llama;
} shape;

static const shape shapes[] = {
    {48, 4, 4, 12, 192, false},      {72, 6, 2, 12, 152, true},       {576, 9, 3, 64, 1536, true},
    {768, 12, 12, 64, 3072, false},  {1024, 16, 16, 64, 4096, false}, {2048, 32, 4, 64, 5632, true},
    {4096, 32, 8, 128, 14336, true}, {40, 1, 1, 256, 24, true},
};

static uint32_t columns_of(uint32_t type)
{
    return AEGIS_DECODE_UNIT_ROW_BYTES / (type == AEGIS_DECODE_F32 ? 4 : 2);
}

static aegis_decode_step step_of(const shape *s, uint32_t type)
{
    aegis_decode_step step = {.width = s->width,
                              .heads = s->heads,
                              .kv_heads = s->kv_heads,
                              .head_width = s->head_width,
                              .feed_forward = s->feed_forward,
                              .llama = s->llama};
    const uint32_t query = s->heads * s->head_width;
    const uint32_t rows[] = {query + 2 * s->kv_heads * s->head_width, s->width,
                             s->llama ? 2 * s->feed_forward : s->feed_forward, s->width};
    const uint32_t inputs[] = {s->width, query, s->width, s->feed_forward};
    for (uint32_t p = 0; p < LENGTH(rows); p++) {
        step.rows[p] = rows[p];
        step.units[p] = (inputs[p] + columns_of(type) - 1) / columns_of(type);
    }
    return step;
}

static aegis_prompt_plan
plan_of(const aegis_decode_step *step, uint32_t type, uint32_t rows, uint64_t workspace)
{
    aegis_prompt_plan plan;
    aegis_prompt_plan_make(step, type, rows, workspace, &plan);
    return plan;
}

/* GPT-2 small, 128 tokens at once, on Hopper. */
static void a_block_takes_what_is_written_here(void **state)
{
    (void)state;
    enum {
        ROWS = 128,
        WIDTH = 768,
        FEED_FORWARD = 3072,
        FLOAT = 4
    };
    const uint64_t row = (uint64_t)ROWS * FLOAT;
    for (size_t t = 0; t < LENGTH(types); t++) {
        const uint32_t parts = types[t] == AEGIS_DECODE_F32 ? 1 : 2;
        const aegis_decode_step step = step_of(&shapes[3], types[t]);
        const aegis_prompt_plan plan = plan_of(&step, types[t], ROWS, 32 * MIB);
        assert_int_equal(plan.rows, ROWS);
        assert_int_equal(plan.parts, parts);
        assert_int_equal(plan.units, (2304 * WIDTH + WIDTH * WIDTH + 2 * WIDTH * FEED_FORWARD) /
                                         (AEGIS_DECODE_TILE_ROWS * columns_of(types[t])));
        assert_int_equal(plan.state, 0);
        assert_int_equal(plan.residual[0], ALIGNMENT);
        assert_int_equal(plan.residual[1], plan.residual[0] + row * WIDTH);
        assert_int_equal(plan.inputs, plan.residual[1] + row * WIDTH);
        assert_int_equal(plan.outputs, plan.inputs + parts * row * FEED_FORWARD);
        assert_int_equal(plan.queries, plan.outputs + parts * row * FEED_FORWARD);
        assert_int_equal(plan.weights, plan.queries + row * WIDTH);
        assert_int_equal(plan.workspace, plan.weights + 2 * SCRATCH_BYTES);
        assert_int_equal(plan.bytes, plan.workspace + 32 * MIB);
    }
}

/* Two blocks differ by their rows alone; what is not aligned is made so. */
static void sizes_follow_from_rows_and_workspace(void **state)
{
    (void)state;
    for (size_t s = 0; s < LENGTH(shapes); s++) {
        for (size_t t = 0; t < LENGTH(types); t++) {
            const aegis_decode_step step = step_of(&shapes[s], types[t]);
            for (uint32_t rows = 2; rows <= AEGIS_PROMPT_MAX_ROWS; rows = rows * 3 / 2) {
                const aegis_prompt_plan plan = plan_of(&step, types[t], rows, 4 * MIB);
                const uint64_t begins[] = {plan.state,   plan.residual[0], plan.residual[1],
                                           plan.inputs,  plan.outputs,     plan.queries,
                                           plan.weights, plan.workspace,   plan.bytes};
                for (size_t i = 0; i < LENGTH(begins); i++) {
                    assert_int_equal(begins[i] % ALIGNMENT, 0);
                    assert_true(i == 0 ? begins[i] == 0 : begins[i] > begins[i - 1]);
                }
                for (uint32_t p = 0; p < AEGIS_DECODE_LAYER_PRODUCTS; p++) {
                    assert_true(plan.outputs - plan.inputs >=
                                (uint64_t)plan.parts * rows * aegis_prompt_inputs(&step, p) * 4);
                    assert_true(plan.queries - plan.outputs >=
                                (uint64_t)plan.parts * rows * step.rows[p] * 4);
                }
                assert_int_equal(plan_of(&step, types[t], rows, 5 * MIB + 1).bytes - plan.bytes,
                                 MIB + ALIGNMENT);
                assert_int_equal(plan.units, plan_of(&step, types[t], 2, 0).units);
            }
        }
    }
}

/* The product in which a unit lies. */
static uint32_t product_of(const aegis_prompt_plan *plan, uint32_t unit)
{
    uint32_t p = AEGIS_DECODE_LAYER_PRODUCTS - 1;
    while (plan->before[p] > unit) {
        p--;
    }
    return p;
}

static uint32_t end_of(const aegis_prompt_plan *plan, uint32_t product)
{
    return product + 1 < AEGIS_DECODE_LAYER_PRODUCTS ? plan->before[product + 1] : plan->units;
}

static void pieces_cover_a_layer_in_whole_tiles(void **state)
{
    (void)state;
    uint32_t divided = 0;
    for (size_t s = 0; s < LENGTH(shapes); s++) {
        for (size_t t = 0; t < LENGTH(types); t++) {
            const aegis_decode_step step = step_of(&shapes[s], types[t]);
            const aegis_prompt_plan plan = plan_of(&step, types[t], 2, 0);
            const uint64_t unit_bytes = aegis_prompt_unit_floats(types[t]) * 4;
            uint32_t first = 0;
            assert_true(plan.scratch * unit_bytes <= SCRATCH_BYTES);
            assert_true(plan.workspace - plan.weights >= 2 * plan.scratch * unit_bytes);
            while (first < plan.units) {
                const uint32_t last = aegis_prompt_piece_end(&plan, &step, first);
                const uint32_t of = product_of(&plan, last - 1);
                assert_true(last > first && last - first <= plan.scratch);
                assert_int_equal((last - plan.before[of]) % step.units[of], 0);
                if (last < end_of(&plan, of)) { /* part of a product: alone, and as much as fits */
                    assert_true(first >= plan.before[of]);
                    assert_true(last - first + step.units[of] > plan.scratch);
                    divided++;
                }
                first = last;
            }
            assert_int_equal(first, plan.units);
        }
    }
    assert_true(divided > 0); /* some product is larger than the scratch */
}

/* As the table of a layout that has them (layout.h): one entry a unit. */
static void units_are_those_of_the_products(void **state)
{
    (void)state;
    for (size_t s = 0; s < LENGTH(shapes); s++) {
        const aegis_decode_step step = step_of(&shapes[s], AEGIS_DECODE_F16);
        const aegis_prompt_plan plan = plan_of(&step, AEGIS_DECODE_F16, 2, 0);
        uint32_t units = 0;
        for (uint32_t p = 0; p < AEGIS_DECODE_LAYER_PRODUCTS; p++) {
            assert_int_equal(plan.before[p], units);
            assert_true(aegis_prompt_tiles(&step, p) * AEGIS_DECODE_TILE_ROWS >= step.rows[p]);
            units += aegis_prompt_tiles(&step, p) * step.units[p];
        }
        assert_int_equal(plan.units, units);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_takes_what_is_written_here),
        cmocka_unit_test(sizes_follow_from_rows_and_workspace),
        cmocka_unit_test(pieces_cover_a_layer_in_whole_tiles),
        cmocka_unit_test(units_are_those_of_the_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
