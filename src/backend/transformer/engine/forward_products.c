/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/engine/forward_internal.h"

static uint32_t end_piece(const aegis_matrix *matrix)
{
    return matrix->first_piece + matrix->piece_count;
}

void aegis_forward_let_go(aegis_forward *forward)
{
    if (forward->group != NULL) {
        aegis_weight_stream_release(forward->weights->stream);
        forward->group = NULL;
    }
}

static aegis_status hold_group(aegis_forward *forward, uint32_t number, aegis_error *err)
{
    if (forward->group != NULL && forward->group_number == number) {
        return AEGIS_OK;
    }
    aegis_forward_let_go(forward);
    const uint8_t *bytes = NULL;
    aegis_status status = aegis_weight_stream_acquire(forward->weights->stream, &bytes, err);
    if (status == AEGIS_OK) {
        forward->group = bytes;
        forward->group_number = number;
    }
    return status;
}

/* The pieces from `from` on that lie one behind the other in memory. */
static aegis_status next_run(aegis_forward *forward,
                             const aegis_matrix *matrix,
                             uint32_t from,
                             uint32_t until,
                             aegis_weight_run *ret_run,
                             uint32_t *ret_next,
                             aegis_error *err)
{
    const aegis_weights *weights = forward->weights;
    const aegis_partition_piece *pieces = weights->partition->pieces;
    const aegis_partition_piece *first = &pieces[from];
    const uint64_t row_bytes = weights->units[matrix->unit].row_bytes;
    const uint32_t end = end_piece(matrix) < until ? end_piece(matrix) : until;
    const uint8_t *base = weights->pinned;
    if (first->group != AEGIS_PARTITION_PINNED) {
        aegis_status status = hold_group(forward, first->group, err);
        if (status != AEGIS_OK) {
            return status;
        }
        base = forward->group;
    }
    const uint8_t *first_byte = base + first->offset;
    uint32_t next = from + 1, rows = first->count;
    while (next < end && pieces[next].group == first->group &&
           pieces[next].offset == first->offset + row_bytes * rows) {
        rows += pieces[next].count;
        next++;
    }
    if (matrix->layout == AEGIS_LAYOUT_BANDS) {
        first_byte = base + pieces[matrix->first_piece].offset;
    }
    *ret_run = (aegis_weight_run){.data = first_byte,
                                  .scale = matrix->scales,
                                  .type = matrix->tensor->source->dtype,
                                  .layout = matrix->layout,
                                  .inputs = matrix->inputs,
                                  .outputs = matrix->outputs,
                                  .first = first->first,
                                  .count = rows};
    *ret_next = next;
    return AEGIS_OK;
}

/* The last piece of a group has been computed. */
static void let_go_at(aegis_forward *forward, uint32_t next)
{
    const aegis_partition_group *group =
        forward->group != NULL ? &forward->weights->partition->groups[forward->group_number] : NULL;
    if (group != NULL && next >= group->first_piece + group->piece_count) {
        aegis_forward_let_go(forward);
    }
}

/* Whether the whole matrix is one run in memory: then several matrices go to the pool at once. */
static bool is_pinned(const aegis_forward *forward, const aegis_matrix *matrix)
{
    const aegis_partition_piece *pieces = forward->weights->partition->pieces;
    for (uint32_t p = matrix->first_piece; p < end_piece(matrix); p++) {
        if (pieces[p].group != AEGIS_PARTITION_PINNED) {
            return false;
        }
    }
    return true;
}

static aegis_status run_pinned(aegis_forward *forward,
                               const aegis_forward_product *products,
                               uint32_t count,
                               uint32_t rows,
                               aegis_error *err)
{
    aegis_product all[AEGIS_PRODUCTS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        const aegis_matrix *matrix = products[i].matrix;
        all[i].x = products[i].x;
        all[i].y = products[i].y;
        aegis_status status = next_run(forward, matrix, matrix->first_piece, UINT32_MAX,
                                       &all[i].run, &forward->piece, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    aegis_products_run_by(forward->multiplier, forward->scratch, forward->kernels, forward->pool,
                          all, count, rows);
    return AEGIS_OK;
}

aegis_status aegis_forward_products(aegis_forward *forward,
                                    const aegis_forward_product *products,
                                    uint32_t count,
                                    uint32_t rows,
                                    uint32_t until,
                                    bool *ret_done,
                                    aegis_error *err)
{
    const uint32_t last = end_piece(products[count - 1].matrix);
    bool pinned = forward->piece == products[0].matrix->first_piece && last <= until;
    for (uint32_t i = 0; pinned && i < count; i++) {
        pinned = is_pinned(forward, products[i].matrix);
    }
    if (pinned) {
        *ret_done = true;
        return run_pinned(forward, products, count, rows, err);
    }
    while (forward->piece < last && forward->piece < until) {
        uint32_t i = 0;
        while (forward->piece >= end_piece(products[i].matrix)) {
            i++;
        }
        aegis_product one = {.x = products[i].x, .y = products[i].y};
        uint32_t next;
        aegis_status status =
            next_run(forward, products[i].matrix, forward->piece, until, &one.run, &next, err);
        if (status != AEGIS_OK) {
            return status;
        }
        aegis_products_run_by(forward->multiplier, forward->scratch, forward->kernels,
                              forward->pool, &one, 1, rows);
        forward->piece = next;
        let_go_at(forward, next);
    }
    *ret_done = forward->piece >= last;
    return AEGIS_OK;
}
