/* SPDX-License-Identifier: Apache-2.0 */

/* Models come and go at random; after every step the bytes of all of them are compared pair by
 * pair under the rule of conflicts, and the counters with sums made here. */

#include <aegisrt/memory_plan.h>

#include "base/base.h"
#include "property/resource/scale.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODELS 8
#define TENSORS 14
#define LANES 3

/* What the test remembers of a planned model. */
typedef struct known {
    bool planned;
    uint16_t lane;
    size_t count;
    aegis_tensor_lifetime lifetimes[TENSORS];
    uint64_t offsets[TENSORS];
} known;

typedef struct world {
    aegis_memory_orchestrator *o;
    uint64_t capacity;
    bool sealed;
    known models[MODELS];
} world;

static uint64_t below(uint64_t *seed, uint64_t limit)
{
    return aegis_random_next(seed) % limit;
}

static void make_model(uint64_t *seed, known *k)
{
    k->lane = (uint16_t)below(seed, LANES);
    k->count = (size_t)below(seed, TENSORS + 1);
    for (size_t i = 0; i < k->count; i++) {
        int64_t start = (int64_t)below(seed, 8);
        k->lifetimes[i] = (aegis_tensor_lifetime){
            .tensor = (uint32_t)i,
            .memory_class = (aegis_memory_class)below(seed, AEGIS_MEMORY_SPILL),
            .segment = (uint32_t)below(seed, 3),
            .start = start,
            .end = start + 1 + (int64_t)below(seed, 5),
            .size_bytes = below(seed, 900),
            .alignment = below(seed, 3) == 0 ? UINT64_C(1) << below(seed, 9) : 0,
        };
        if (below(seed, 2) == 0) {
            k->lifetimes[i].memory_class = AEGIS_MEMORY_ACTIVATION;
        } else if (below(seed, 4) == 0) {
            k->lifetimes[i].memory_class = AEGIS_MEMORY_PAGED;
        }
    }
}

/* ---- the rule, written again ---- */

static bool conflict(const known *a, size_t i, const known *b, size_t j)
{
    const aegis_tensor_lifetime *x = &a->lifetimes[i], *y = &b->lifetimes[j];
    bool both_die =
        x->memory_class == AEGIS_MEMORY_ACTIVATION && y->memory_class == AEGIS_MEMORY_ACTIVATION;
    if (a == b && x->memory_class == AEGIS_MEMORY_BOUNDARY &&
        y->memory_class == AEGIS_MEMORY_BOUNDARY) {
        return x->start < y->end && y->start < x->end; /* on the axis of the segments */
    }
    if (a != b && a->lane == b->lane && x->memory_class == AEGIS_MEMORY_PAGED &&
        y->memory_class == AEGIS_MEMORY_PAGED) {
        return false; /* one at a time lies there */
    }
    if (!both_die || a->lane != b->lane) {
        return true;
    }
    return a == b && x->segment == y->segment && x->start < y->end && y->start < x->end;
}

static void check_tensor(const world *w, const known *a, size_t i)
{
    uint64_t from = a->offsets[i], to = from + a->lifetimes[i].size_bytes;
    uint64_t alignment = a->lifetimes[i].alignment == 0 ? 64 : a->lifetimes[i].alignment;
    if (from == to) {
        return;
    }
    assert_int_equal(from % alignment, 0);
    assert_true(to <= w->capacity);
    for (size_t m = 0; m < MODELS; m++) {
        const known *b = &w->models[m];
        for (size_t j = 0; b->planned && j < b->count; j++) {
            uint64_t other = b->offsets[j], end = other + b->lifetimes[j].size_bytes;
            if ((a != b || i != j) && other != end && conflict(a, i, b, j)) {
                assert_true(to <= other || end <= from);
            }
        }
    }
    for (uint16_t lane = 0; lane < LANES; lane++) {
        uint64_t spill, size;
        assert_int_equal(aegis_memory_orchestrator_spill_region(w->o, lane, &spill, &size, NULL),
                         AEGIS_OK);
        assert_true(to <= spill || spill + size <= from);
    }
}

static void check_bytes(const world *w)
{
    for (size_t m = 0; m < MODELS; m++) {
        for (size_t i = 0; w->models[m].planned && i < w->models[m].count; i++) {
            check_tensor(w, &w->models[m], i);
        }
    }
}

/* Offsets never change once they are known. */
static void check_bindings(world *w)
{
    for (uint32_t m = 0; m < MODELS; m++) {
        known *k = &w->models[m];
        const aegis_memory_binding *b;
        aegis_status status = aegis_memory_orchestrator_bind(w->o, m, &b, NULL);
        assert_int_equal(status, k->planned ? AEGIS_OK : AEGIS_ERROR_NOT_FOUND);
        for (size_t i = 0; k->planned && i < k->count; i++) {
            assert_int_equal(b->placements[i].size_bytes, k->lifetimes[i].size_bytes);
            assert_true(k->offsets[i] == UINT64_MAX ||
                        k->offsets[i] == b->placements[i].offset_bytes);
            k->offsets[i] = b->placements[i].offset_bytes;
        }
    }
}

/* The most bytes of a model's boundary tensors that live in one segment. */
static uint64_t boundary_peak(const known *k)
{
    uint64_t most = 0;
    for (int64_t at = 0; at < 16; at++) {
        uint64_t live = 0;
        for (size_t i = 0; i < k->count; i++) {
            const aegis_tensor_lifetime *l = &k->lifetimes[i];
            bool alive = l->memory_class == AEGIS_MEMORY_BOUNDARY && l->start <= at && at < l->end;
            live += alive ? l->size_bytes : 0;
        }
        most = live > most ? live : most;
    }
    return most;
}

/* What its paged tensors take, one behind the other. */
static uint64_t paged_bytes(const known *k)
{
    uint64_t end = 0;
    for (size_t i = 0; i < k->count; i++) {
        const aegis_tensor_lifetime *l = &k->lifetimes[i];
        uint64_t alignment = l->alignment == 0 ? 64 : l->alignment;
        if (l->memory_class == AEGIS_MEMORY_PAGED && l->size_bytes > 0) {
            end = (end + alignment - 1) / alignment * alignment + l->size_bytes;
        }
    }
    return (end + 63) / 64 * 64;
}

/* Before the seal the regions are as large as the largest model of their lane; afterwards they may
 * be larger, when that one has left. */
static void check_paged(const world *w, const aegis_memory_totals *t)
{
    uint64_t regions = 0, sum = 0;
    for (uint16_t lane = 0; lane < LANES; lane++) {
        uint64_t most = 0;
        for (size_t m = 0; m < MODELS; m++) {
            const known *k = &w->models[m];
            uint64_t bytes = k->planned && k->lane == lane ? paged_bytes(k) : 0;
            most = bytes > most ? bytes : most;
            sum += bytes;
        }
        regions += most;
    }
    assert_int_equal(t->paged_sum, sum);
    assert_true(w->sealed ? t->by_class[AEGIS_MEMORY_PAGED] >= regions
                          : t->by_class[AEGIS_MEMORY_PAGED] == regions);
}

static void check_counters(const world *w)
{
    aegis_memory_totals t;
    aegis_memory_orchestrator_totals(w->o, &t);
    uint64_t by_class[AEGIS_MEMORY_CLASS_COUNT] = {0}, sum = t.padding_bytes, pressure = 0,
             crossing = 0;
    for (size_t m = 0; m < MODELS; m++) {
        const known *k = &w->models[m];
        uint64_t frees = 0;
        for (size_t i = 0; k->planned && i < k->count; i++) {
            by_class[k->lifetimes[i].memory_class] += k->lifetimes[i].size_bytes;
        }
        if (k->planned) {
            assert_int_equal(aegis_memory_orchestrator_freeable(w->o, (uint32_t)m, &frees, NULL),
                             AEGIS_OK);
        }
        pressure += frees;
        crossing += k->planned ? boundary_peak(k) : 0;
    }
    for (int c = 0; c < AEGIS_MEMORY_CLASS_COUNT; c++) {
        sum += t.by_class[c];
        if (c < AEGIS_MEMORY_ACTIVATION) {
            assert_int_equal(t.by_class[c], by_class[c]);
        }
    }
    assert_int_equal(sum, t.planned_bytes);
    check_paged(w, &t);
    assert_true(t.by_class[AEGIS_MEMORY_BOUNDARY] >= crossing);
    assert_true(t.planned_bytes <= w->capacity);
    assert_int_equal(aegis_memory_orchestrator_current(w->o), t.planned_bytes);
    assert_true(aegis_memory_orchestrator_peak(w->o) >= t.planned_bytes);
    aegis_pressure_answer all;
    assert_int_equal(
        aegis_memory_orchestrator_handle_pressure(w->o, AEGIS_PRESSURE_REPORT, 0, &all, NULL),
        AEGIS_OK);
    assert_true(w->sealed ? all.freed_bytes == pressure : all.freed_bytes >= pressure);
}

/* ---- steps ---- */

static aegis_status try_plan(world *w, uint32_t m, const known *k)
{
    const aegis_memory_demand demand = {.model = m,
                                        .name = "random",
                                        .lane = k->lane,
                                        .lifetimes = k->lifetimes,
                                        .lifetime_count = k->count};
    return aegis_memory_orchestrator_plan(w->o, &demand, NULL);
}

/* A refusal's advice is followed in a twin of the world that then has the room it promised. */
static void check_advice(world *w, uint32_t m, const known *k)
{
    aegis_memory_refusal r;
    assert_true(aegis_memory_orchestrator_last_refusal(w->o, &r));
    assert_int_equal(r.model, m);
    assert_true(r.missing_bytes > 0 || r.lane_region);
    assert_true(r.missing_bytes == 0 || r.need_bytes == r.free_bytes + r.missing_bytes);
    if (!r.has_model_to_remove) {
        return;
    }
    known *gone = &w->models[r.model_to_remove];
    assert_true(gone->planned);
    assert_int_equal(aegis_memory_orchestrator_release(w->o, r.model_to_remove, NULL), AEGIS_OK);
    gone->planned = false;
    assert_int_equal(try_plan(w, m, k), AEGIS_OK);
    w->models[m] = *k;
    w->models[m].planned = true;
}

static unsigned add(world *w, uint32_t m, uint64_t *seed)
{
    known k = {.planned = false};
    make_model(seed, &k);
    memset(k.offsets, 0xff, sizeof k.offsets);
    uint64_t before = aegis_memory_orchestrator_current(w->o);
    aegis_status status = try_plan(w, m, &k);
    if (status == AEGIS_OK) {
        w->models[m] = k;
        w->models[m].planned = true;
        return 0;
    }
    assert_int_equal(status, AEGIS_ERROR_NO_MEMORY);
    assert_int_equal(aegis_memory_orchestrator_current(w->o), before);
    check_advice(w, m, &k);
    return 1;
}

static unsigned step(world *w, uint64_t *seed)
{
    uint32_t m = (uint32_t)below(seed, MODELS);
    unsigned refused = 0;
    if (!w->sealed && below(seed, 12) == 0) {
        assert_int_equal(aegis_memory_orchestrator_seal(w->o, NULL), AEGIS_OK);
        w->sealed = true;
    } else if (w->models[m].planned) {
        assert_int_equal(aegis_memory_orchestrator_release(w->o, m, NULL), AEGIS_OK);
        w->models[m].planned = false;
    } else {
        refused = add(w, m, seed);
    }
    if (w->sealed) {
        check_bindings(w);
        check_bytes(w);
    }
    check_counters(w);
    return refused;
}

static void models_come_and_go_without_touching(void **state)
{
    (void)state;
    uint64_t rounds = 2500 * property_scale(), refused = 0;
    aegis_allocator allocator = aegis_allocator_default();
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t seed = PROPERTY_SEED + round;
        property_at(seed);
        world w = {.capacity = 4096 + 64 * below(&seed, 200)};
        const aegis_memory_config config = {.capacity_bytes = w.capacity,
                                            .lanes = LANES,
                                            .spill_bytes_per_lane = below(&seed, 200),
                                            .limits = {.nodes = 300}};
        aegis_planner planner = round % 5 == 4 ? aegis_planner_stacked() : aegis_planner_default();
        assert_int_equal(
            aegis_memory_orchestrator_create(&config, &planner, &allocator, &w.o, NULL), AEGIS_OK);
        for (int i = 0; i < 60; i++) {
            refused += step(&w, &seed);
        }
        aegis_memory_orchestrator_destroy(w.o);
    }
    property_done();
    printf("%" PRIu64 " refusals\n", refused);
    assert_true(refused > rounds); /* the arena was tight enough to matter */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(models_come_and_go_without_touching)};
    return cmocka_run_group_tests(tests, property_start, property_end);
}
