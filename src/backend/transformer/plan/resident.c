/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/plan/plan.h"

#include "base/base.h"

/*
 * `resident-stream`: a fixed set of pieces stays, the others pass through a ring. A token reads
 * model minus resident and nothing more; a cache that replaces the least recently used would read
 * everything, because every token touches all weights in the same order. Pinned and streamed pieces
 * alternate evenly, so that there is always something to compute while the ring fills.
 */

#define RING_BUFFERS 6
#define LEAST_BUFFERS 3
#define WORTH_READING ((uint64_t)256 << 10)

typedef struct ring {
    uint64_t tile_bytes, buffer_bytes;
    uint32_t buffers;
} ring;

/* The ring takes a twelfth of the memory at most, while tiles stay worth reading. */
static bool size_ring(const aegis_partition_request *request, ring *ret_ring)
{
    const uint64_t row = aegis_partition_largest_row(request);
    const uint64_t least = row > AEGIS_PARTITION_LEAST_TILE ? row : AEGIS_PARTITION_LEAST_TILE;
    uint64_t tile = request->tile_bytes;
    /* Blocks at the ends of a tile are read twice: 4 KiB a tile on average, hence 256 KiB. */
    while (tile > WORTH_READING && tile * RING_BUFFERS > request->available_bytes / 12) {
        tile /= 2;
    }
    while (tile > least && tile * LEAST_BUFFERS > request->available_bytes / 2) {
        tile /= 2;
    }
    tile = tile < least ? least : tile;
    ring made = {.tile_bytes = tile, .buffers = RING_BUFFERS};
    made.buffer_bytes = aegis_align_up(tile + AEGIS_PARTITION_SLACK, AEGIS_PARTITION_BLOCK);
    while (made.buffers > LEAST_BUFFERS &&
           made.buffers * made.buffer_bytes > request->available_bytes) {
        made.buffers--;
    }
    *ret_ring = made;
    return made.buffers * made.buffer_bytes <= request->available_bytes;
}

/* Deals the tiles out: of the first b bytes of the pass, b * pinned / total are pinned. */
static aegis_status deal(const aegis_partition_request *request,
                         const ring *buffers,
                         uint64_t pinned,
                         uint64_t total,
                         aegis_partition_builder *builder,
                         aegis_error *err)
{
    uint64_t passed = 0, kept = 0, padding = 0;
    aegis_status status = AEGIS_OK;
    while (status == AEGIS_OK && builder->unit < request->unit_count &&
           !request->units[builder->unit].lookup) {
        const aegis_partition_unit *unit = &request->units[builder->unit];
        uint64_t rows = buffers->tile_bytes / unit->row_bytes;
        const uint64_t left = unit->rows - builder->row;
        rows = rows < left ? rows : left;
        const uint64_t bytes = rows * unit->row_bytes;
        padding += builder->row == 0 ? 64 : 0;
        const aegis_u128 due = (aegis_u128)(passed + bytes) * pinned / total;
        const bool keep = kept + bytes <= due && kept + bytes + padding <= pinned;
        status = keep ? aegis_partition_pin(builder, (uint32_t)rows, err)
                      : aegis_partition_stream(builder, (uint32_t)rows, err);
        aegis_partition_end_group(builder);
        kept += keep ? bytes : 0;
        passed += bytes;
    }
    return status;
}

aegis_status aegis_plan_resident(void *self,
                                 const aegis_partition_request *request,
                                 aegis_partition_builder *builder,
                                 aegis_error *err)
{
    (void)self;
    const uint64_t computed = aegis_partition_whole_bytes(request, false);
    ring buffers = {0};
    aegis_status status;
    if (computed <= request->available_bytes) {
        while (builder->unit < request->unit_count && !request->units[builder->unit].lookup) {
            status = aegis_partition_pin(builder, request->units[builder->unit].rows, err);
            if (status != AEGIS_OK) {
                return status;
            }
        }
        return aegis_partition_add_lookups(builder, request->available_bytes - computed, err);
    }
    if (!size_ring(request, &buffers)) {
        return aegis_partition_refuse("resident-stream", buffers.buffers * buffers.buffer_bytes,
                                      request, err);
    }
    uint64_t pinned = request->available_bytes - buffers.buffers * buffers.buffer_bytes;
    status = aegis_partition_set_buffers(builder, buffers.buffers, err);
    if (status == AEGIS_OK) {
        status = deal(request, &buffers, pinned, computed, builder, err);
    }
    return status == AEGIS_OK ? aegis_partition_add_lookups(builder, 0, err) : status;
}

/* --- auto ----------------------------------------------------------------------------------- */

/*
 * Plans with every other strategy and takes the one whose token takes least: reading at the
 * measured rate of the disk and computing at the measured rate of the memory, the longer of the two
 * where they overlap (two buffers and more), else their sum. Without rates, or among equals, the
 * later one in the list.
 */
aegis_status aegis_plan_auto(void *self,
                             const aegis_partition_request *request,
                             aegis_partition_builder *builder,
                             aegis_error *err)
{
    (void)self;
    const aegis_partition_strategy *best = NULL, *tried;
    double best_s = 0;
    aegis_error why = {0};
    for (uint32_t i = 0; (tried = aegis_partition_strategy_at(i)) != NULL; i++) {
        aegis_partition *plan = NULL;
        if (tried->plan == aegis_plan_auto) {
            continue;
        }
        aegis_status status =
            aegis_partition_plan(tried, request, &builder->partition->allocator, &plan, &why);
        if (status != AEGIS_OK) {
            continue;
        }
        if (best == NULL || plan->estimated_token_s <= best_s) {
            best = tried;
            best_s = plan->estimated_token_s;
        }
        aegis_partition_free(plan);
    }
    if (best == NULL) {
        return aegis_partition_refuse("auto", aegis_partition_least_bytes(request), request, err);
    }
    for (size_t i = 0; i < sizeof builder->partition->strategy; i++) {
        builder->partition->strategy[i] = best->name[i];
        if (best->name[i] == '\0') {
            break;
        }
    }
    return best->plan(best->self, request, builder, err);
}
