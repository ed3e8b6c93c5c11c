/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_PLACED_MODEL_H
#define AEGIS_TEST_PLACED_MODEL_H

/* Takes a recorded model to planned addresses: permanent tensors end to end, activations and what
 * crosses cuts as the product's planner lays them out, in the arena of a host device of exactly
 * that size. Permanent bytes get a red zone that tells when somebody writes past his own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <aegisrt/backend.h>

#define PLACED_RED_ZONE 64u
#define PLACED_RED 0xa5

typedef struct placed_memory {
    unsigned char *base, *spill;
    uint64_t size_bytes, permanent_bytes, activation_height, activation_bound, spill_bytes;
    uint64_t boundary_height, boundary_end; /* of what crosses cuts; a red zone follows */
    bool activation_optimal;
    aegis_memory_placement *placements;
    aegis_memory_binding binding;
    aegis_device *device;
    bool borrowed; /* the device is the test's, whose memory may be out of the host's reach */
} placed_memory;

static inline void must(aegis_status status, const aegis_error *err)
{
    if (status != AEGIS_OK) {
        print_error("%s: %s\n", aegis_status_name(status), err->message);
    }
    assert_int_equal(status, AEGIS_OK);
}

static inline uint64_t placed_align(uint64_t bytes, uint64_t alignment)
{
    return (bytes + alignment - 1) & ~(alignment - 1);
}

static inline uint64_t placed_round(uint64_t bytes)
{
    return placed_align(bytes, 64);
}

/* One axis: the activations of a segment, or all boundary tensors (any segment). */
static inline aegis_plan_result placed_plan_axis(placed_memory *memory,
                                                 const aegis_tensor_lifetime *lifetimes,
                                                 size_t count,
                                                 aegis_memory_class memory_class,
                                                 uint32_t segment,
                                                 uint64_t origin)
{
    aegis_error err;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_planner planner = aegis_planner_default();
    aegis_plan_buffer *buffers = calloc(count + 1, sizeof *buffers);
    uint64_t *offsets = calloc(count + 1, sizeof *offsets);
    size_t *which = calloc(count + 1, sizeof *which), used = 0;
    for (size_t i = 0; i < count; i++) {
        if (lifetimes[i].memory_class == memory_class &&
            (memory_class == AEGIS_MEMORY_BOUNDARY || lifetimes[i].segment == segment)) {
            which[used] = i;
            buffers[used] = (aegis_plan_buffer){.id = (uint32_t)used,
                                                .lower = lifetimes[i].start,
                                                .upper = lifetimes[i].end,
                                                .size_bytes = lifetimes[i].size_bytes,
                                                .alignment = lifetimes[i].alignment};
            used++;
        }
    }
    aegis_plan_result result = {.optimal = true};
    if (used > 0) {
        aegis_plan_limits limits = {.capacity_bytes = UINT64_MAX, .nodes = 20000};
        must(aegis_planner_solve(&planner, buffers, used, &limits, &allocator, offsets, &result,
                                 &err),
             &err);
    }
    for (size_t k = 0; k < used; k++) {
        memory->placements[which[k]].offset_bytes = origin + offsets[k];
    }
    free(buffers);
    free(offsets);
    free(which);
    return result;
}

static inline void placed_plan_activations(placed_memory *memory,
                                           const aegis_tensor_lifetime *lifetimes,
                                           size_t count,
                                           uint32_t segment,
                                           uint64_t origin)
{
    aegis_plan_result result =
        placed_plan_axis(memory, lifetimes, count, AEGIS_MEMORY_ACTIVATION, segment, origin);
    if (result.height_bytes > memory->activation_height) {
        memory->activation_height = placed_round(result.height_bytes);
        memory->activation_bound = result.lower_bound_bytes;
        memory->activation_optimal = result.optimal;
    }
}

/* Permanent bytes that are nobody else's, unlike those that are shared over time. */
static inline bool placed_is_alone(aegis_memory_class memory_class)
{
    return memory_class != AEGIS_MEMORY_ACTIVATION && memory_class != AEGIS_MEMORY_BOUNDARY;
}

/* An arena of its own on the host, or that of `device`, in it what follows `before` if that is not
 * NULL; all of it red. */
static inline void
placed_take_arena(placed_memory *memory, aegis_device *device, const placed_memory *before)
{
    aegis_error err;
    aegis_device_config config = {.kind = AEGIS_DEVICE_HOST,
                                  .arena_bytes = memory->size_bytes + memory->spill_bytes + 4096};
    aegis_allocator allocator = aegis_allocator_default();
    void *base = NULL;
    uint64_t arena_bytes = 0;
    memory->device = device;
    memory->borrowed = device != NULL;
    if (device == NULL) {
        must(aegis_device_create(&config, &allocator, &memory->device, &err), &err);
    }
    aegis_device_get_arena(memory->device, &base, &arena_bytes);
    memory->base = before == NULL ? base : before->spill + placed_align(before->spill_bytes, 256);
    const uint64_t taken = (uint64_t)(memory->base - (unsigned char *)base);
    assert_true(taken + memory->size_bytes + memory->spill_bytes + 256 <= arena_bytes);
    memory->spill = memory->base + placed_align(memory->size_bytes, 256);
    unsigned char *red = malloc(memory->size_bytes);
    assert_non_null(red);
    memset(red, PLACED_RED, memory->size_bytes);
    must(aegis_device_copy(memory->device, memory->base, red, memory->size_bytes, &err), &err);
    free(red);
}

/* Plans and places. `spill_bytes` is the lane's spill region; `device` may be NULL, and `before`,
 * the memory of another model that stays in the same arena. */
static inline void placed_make_behind(aegis_model *model,
                                      uint64_t spill_bytes,
                                      aegis_device *device,
                                      const placed_memory *before,
                                      placed_memory *memory)
{
    aegis_error err;
    const aegis_tensor_lifetime *lifetimes = NULL;
    size_t count = 0;
    uint64_t at = PLACED_RED_ZONE;
    memset(memory, 0, sizeof *memory);
    must(aegis_model_estimate_lifetimes(model, &lifetimes, &count, &err), &err);
    memory->placements = calloc(count + 1, sizeof *memory->placements);
    for (size_t i = 0; i < count; i++) {
        memory->placements[i] = (aegis_memory_placement){.tensor = lifetimes[i].tensor,
                                                         .memory_class = lifetimes[i].memory_class,
                                                         .segment = lifetimes[i].segment,
                                                         .size_bytes = lifetimes[i].size_bytes};
        if (placed_is_alone(lifetimes[i].memory_class)) {
            at = placed_align(at, lifetimes[i].alignment > 64 ? lifetimes[i].alignment : 64);
            memory->placements[i].offset_bytes = at;
            memory->permanent_bytes += lifetimes[i].size_bytes;
            at += placed_round(lifetimes[i].size_bytes) + PLACED_RED_ZONE;
        }
    }
    at = placed_align(at, 256);
    memory->boundary_height = placed_round(
        placed_plan_axis(memory, lifetimes, count, AEGIS_MEMORY_BOUNDARY, 0, at).height_bytes);
    memory->permanent_bytes += memory->boundary_height;
    at += memory->boundary_height;
    memory->boundary_end = at;
    at = placed_align(at + PLACED_RED_ZONE, 256);
    for (uint32_t segment = 0; segment < aegis_model_segment_count(model); segment++) {
        placed_plan_activations(memory, lifetimes, count, segment, at);
    }
    memory->spill_bytes = spill_bytes;
    memory->size_bytes = at + memory->activation_height + PLACED_RED_ZONE;
    placed_take_arena(memory, device, before);
    memory->binding =
        (aegis_memory_binding){.placements = memory->placements, .placement_count = count};
    aegis_model_placement placement = {.base = memory->base,
                                       .size_bytes = memory->size_bytes,
                                       .binding = &memory->binding,
                                       .spill_base = memory->spill,
                                       .spill_bytes = spill_bytes};
    must(aegis_model_place(model, &placement, &err), &err);
    assert_true(aegis_model_is_placed(model));
}

/* Alone in the arena. */
static inline void placed_make_on(aegis_model *model,
                                  uint64_t spill_bytes,
                                  aegis_device *device,
                                  placed_memory *memory)
{
    placed_make_behind(model, spill_bytes, device, NULL, memory);
}

static inline void placed_make(aegis_model *model, uint64_t spill_bytes, placed_memory *memory)
{
    placed_make_on(model, spill_bytes, NULL, memory);
}

/* Nobody wrote into the red zone at `offset`. That alone is read: what is beside it may be filled
 * in the background. */
static inline void placed_check_zone(const placed_memory *memory, uint64_t offset)
{
    aegis_error err;
    unsigned char zone[PLACED_RED_ZONE];
    const unsigned char *at = (const unsigned char *)memory->base + offset;
    must(aegis_device_copy(memory->device, zone, at, sizeof zone, &err), &err);
    for (size_t k = 0; k < sizeof zone; k++) {
        assert_int_equal(zone[k], PLACED_RED);
    }
}

/* Nobody wrote between or behind the planned tensors. */
static inline void placed_check_red_zones(const placed_memory *memory)
{
    for (size_t i = 0; i < memory->binding.placement_count; i++) {
        const aegis_memory_placement *one = &memory->placements[i];
        if (placed_is_alone(one->memory_class)) {
            placed_check_zone(memory, one->offset_bytes + one->size_bytes);
        }
    }
    placed_check_zone(memory, 0);
    placed_check_zone(memory, memory->boundary_end);
    placed_check_zone(memory, memory->size_bytes - PLACED_RED_ZONE);
}

/* After the model was closed. */
static inline void placed_free(placed_memory *memory)
{
    if (!memory->borrowed) {
        aegis_device_destroy(memory->device);
    }
    free(memory->placements);
    memset(memory, 0, sizeof *memory);
}

#endif
