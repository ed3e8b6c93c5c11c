/* SPDX-License-Identifier: Apache-2.0 */
/* What a block of a prompt takes in memory, and in which pieces its weights are unpacked. */
#include "backend/transformer/cuda/prompt.h"

#define ALIGNMENT 256u
#define PRODUCTS AEGIS_DECODE_LAYER_PRODUCTS
/* Unpacked at once: both of these stay in L2 until they are multiplied. */
#define SCRATCH_BYTES ((uint64_t)16 << 20)

static uint64_t take(uint64_t *used, uint64_t bytes)
{
    const uint64_t at = *used;
    *used = (at + bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return at;
}

uint32_t aegis_prompt_inputs(const aegis_decode_step *step, uint32_t product)
{
    return product == AEGIS_DECODE_OUTPUT ? step->heads * step->head_width
           : product == AEGIS_DECODE_DOWN ? step->feed_forward
                                          : step->width;
}

uint32_t aegis_prompt_tiles(const aegis_decode_step *step, uint32_t product)
{
    return (step->rows[product] + AEGIS_DECODE_TILE_ROWS - 1) / AEGIS_DECODE_TILE_ROWS;
}

uint32_t aegis_prompt_unit_floats(uint32_t type)
{
    return AEGIS_DECODE_UNIT_BYTES / (type == AEGIS_DECODE_F32 ? 4 : 2);
}

void aegis_prompt_plan_make(const aegis_decode_step *step,
                            uint32_t type,
                            uint32_t rows,
                            uint64_t workspace_bytes,
                            aegis_prompt_plan *ret_plan)
{
    aegis_prompt_plan plan = {.rows = rows, .parts = type == AEGIS_DECODE_F32 ? 1 : 2};
    uint64_t inputs = 0, outputs = 0, used = 0;
    uint32_t tile = 0;
    for (uint32_t p = 0; p < PRODUCTS; p++) {
        const uint32_t of = aegis_prompt_inputs(step, p);
        inputs = of > inputs ? of : inputs;
        outputs = step->rows[p] > outputs ? step->rows[p] : outputs;
        tile = step->units[p] > tile ? step->units[p] : tile;
        plan.before[p] = plan.units;
        plan.units += aegis_prompt_tiles(step, p) * step->units[p];
    }
    const uint64_t floats = aegis_prompt_unit_floats(type);
    const uint64_t most = SCRATCH_BYTES / (floats * sizeof(float));
    plan.scratch = plan.units < most ? plan.units : most < tile ? tile : (uint32_t)most;
    plan.state = take(&used, sizeof(aegis_prompt_state));
    for (int i = 0; i < 2; i++) {
        plan.residual[i] = take(&used, (uint64_t)rows * step->width * sizeof(float));
    }
    plan.inputs = take(&used, plan.parts * rows * inputs * sizeof(float));
    plan.outputs = take(&used, plan.parts * rows * outputs * sizeof(float));
    plan.queries = take(&used, (uint64_t)rows * step->heads * step->head_width * sizeof(float));
    plan.weights = take(&used, 2 * plan.scratch * floats * sizeof(float));
    plan.workspace = take(&used, workspace_bytes);
    plan.bytes = used;
    *ret_plan = plan;
}

uint32_t
aegis_prompt_piece_end(const aegis_prompt_plan *plan, const aegis_decode_step *step, uint32_t first)
{
    const uint32_t left = plan->units - first;
    if (left <= plan->scratch) {
        return plan->units;
    }
    const uint32_t last = first + plan->scratch;
    uint32_t p = PRODUCTS - 1;
    while (plan->before[p] > last) {
        p--;
    }
    const uint32_t begin = plan->before[p];
    return begin > first ? begin : last - (last - begin) % step->units[p];
}
