/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_PLAN_H
#define AEGIS_TRANSFORMER_PLAN_H

/* What the built-in strategies share. */

#include <aegisrt/ext/partition_ops.h>

struct aegis_partition_builder {
    const aegis_partition_request *request;
    aegis_partition *partition;
    uint32_t unit, row; /* the next row */
    bool group_open;
};

/* Smallest read that is worth a buffer. */
#define AEGIS_PARTITION_LEAST_TILE ((uint64_t)64 << 10)
/* What a stretch of a file grows by at most when it is widened to whole blocks. */
#define AEGIS_PARTITION_SLACK ((uint64_t)2 * AEGIS_PARTITION_BLOCK)

static inline uint64_t aegis_partition_unit_bytes(const aegis_partition_unit *unit)
{
    return unit->row_bytes * unit->rows;
}

/* Bytes of the pinned copy of all units (without lookup tables: `lookups` false). */
uint64_t aegis_partition_whole_bytes(const aegis_partition_request *request, bool lookups);
/* Pins or leaves the lookup tables that stand last: those that fit into `room` bytes. */
aegis_status
aegis_partition_add_lookups(aegis_partition_builder *builder, uint64_t room, aegis_error *err);
/* "NAME needs N bytes for weights and buffers, M are available" */
aegis_status aegis_partition_refuse(const char *name,
                                    uint64_t need_bytes,
                                    const aegis_partition_request *request,
                                    aegis_error *err);
/* Bytes of the largest stored row, lookup tables left out. */
uint64_t aegis_partition_largest_row(const aegis_partition_request *request);

aegis_status aegis_plan_sequential(void *self,
                                   const aegis_partition_request *request,
                                   aegis_partition_builder *builder,
                                   aegis_error *err);
aegis_status aegis_plan_greedy(void *self,
                               const aegis_partition_request *request,
                               aegis_partition_builder *builder,
                               aegis_error *err);
aegis_status aegis_plan_prefetch(void *self,
                                 const aegis_partition_request *request,
                                 aegis_partition_builder *builder,
                                 aegis_error *err);
aegis_status aegis_plan_resident(void *self,
                                 const aegis_partition_request *request,
                                 aegis_partition_builder *builder,
                                 aegis_error *err);
aegis_status aegis_plan_auto(void *self,
                             const aegis_partition_request *request,
                             aegis_partition_builder *builder,
                             aegis_error *err);

#endif
