/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/memory_plan.h>

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever the text: it is refused, or its buffers can be planned within a few nodes, or the
 * planner refuses them. A plan that does not hold is found by the planner's own verification. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_plan_buffer *buffers;
    size_t count;
    if (aegis_plan_csv_parse((const char *)data, size, "input", &allocator, &buffers, &count,
                             NULL) != AEGIS_OK) {
        return 0;
    }
    uint64_t *offsets = calloc(count + 1, sizeof *offsets);
    if (offsets != NULL && count <= 512) {
        aegis_planner planner = aegis_planner_default();
        aegis_plan_limits limits = {.capacity_bytes = UINT64_MAX, .nodes = 500};
        aegis_plan_result result;
        aegis_status status = aegis_planner_solve(&planner, buffers, count, &limits, &allocator,
                                                  offsets, &result, NULL);
        if (status == AEGIS_ERROR_INTERNAL) {
            abort();
        }
    }
    free(offsets);
    aegis_plan_buffers_free(&allocator, buffers, count);
    return 0;
}
