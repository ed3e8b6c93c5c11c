/* SPDX-License-Identifier: Apache-2.0 */
/* Several real models in one arena, where the orchestrator puts them: what they share, they share
 * without anybody noticing. */
#include "integration/onnx_models.h"
#include "support/backend_conformance.h"

#include <inttypes.h>
#include <stdio.h>

#define ARENA_BYTES (UINT64_C(64) << 20)
#define MOST_MODELS 4

static aegis_backend *backend;

/* One lane, one arena. */
typedef struct arena {
    unsigned char *base;
    aegis_memory_orchestrator *memory;
    aegis_model *models[MOST_MODELS];
    size_t count;
} arena;

static void need(const char *stem)
{
    if (!onnx_there(stem)) {
        print_message("skipped: no models/%s.onnx; 'make models' fetches it\n", stem);
        skip();
    }
}

static void arena_make(arena *a)
{
    aegis_error err;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_planner planner = aegis_planner_default();
    const aegis_memory_config config = {
        .capacity_bytes = ARENA_BYTES, .lanes = 1, .spill_bytes_per_lane = 4096};
    *a = (arena){.base = aligned_alloc(4096, ARENA_BYTES)};
    assert_non_null(a->base);
    memset(a->base, 0xa5, ARENA_BYTES);
    must(aegis_memory_orchestrator_create(&config, &planner, &allocator, &a->memory, &err), &err);
}

static void arena_free(arena *a)
{
    for (size_t i = 0; i < a->count; i++) {
        aegis_model_close(a->models[i]);
    }
    aegis_memory_orchestrator_destroy(a->memory);
    free(a->base);
}

/* Opens, records and plans; cut evenly by positions into `segments` when there are so many. */
static void arena_add(arena *a, const char *stem, uint32_t segments)
{
    aegis_error err;
    aegis_source sources[4];
    char path[1024];
    uint32_t positions[MOST_MODELS] = {0};
    const aegis_cut_candidate *candidates = NULL;
    const aegis_tensor_lifetime *lifetimes = NULL;
    aegis_model *model = NULL;
    size_t count = 0;
    aegis_model_config config = onnx_config(onnx_find(stem), sources, path, sizeof path);
    must(aegis_model_open(backend, &config, &model, &err), &err);
    must(aegis_model_record(model, NULL, &err), &err);
    if (segments > 1) {
        must(aegis_model_cut_candidates(model, NULL, &candidates, &count, &err), &err);
        assert_true(count >= segments);
        for (uint32_t i = 1; i < segments; i++) {
            positions[i - 1] = candidates[count * i / segments].position;
        }
        aegis_model_close(model);
        config.cuts = positions;
        config.cut_count = segments - 1;
        must(aegis_model_open(backend, &config, &model, &err), &err);
        must(aegis_model_record(model, NULL, &err), &err);
    }
    assert_int_equal(aegis_model_segment_count(model), segments);
    must(aegis_model_estimate_lifetimes(model, &lifetimes, &count, &err), &err);
    const aegis_memory_demand demand = {
        .model = (uint32_t)a->count, .name = stem, .lifetimes = lifetimes, .lifetime_count = count};
    must(aegis_memory_orchestrator_plan(a->memory, &demand, &err), &err);
    a->models[a->count++] = model;
}

static const aegis_memory_binding *arena_bind(arena *a, uint32_t index)
{
    aegis_error err;
    const aegis_memory_binding *binding = NULL;
    must(aegis_memory_orchestrator_bind(a->memory, index, &binding, &err), &err);
    return binding;
}

static void arena_place_at(arena *a, uint32_t index, const aegis_memory_binding *binding)
{
    aegis_error err;
    uint64_t offset = 0, size = 0;
    must(aegis_memory_orchestrator_spill_region(a->memory, 0, &offset, &size, &err), &err);
    const aegis_model_placement placement = {.base = a->base,
                                             .size_bytes = ARENA_BYTES,
                                             .binding = binding,
                                             .spill_base = a->base + offset,
                                             .spill_bytes = size};
    must(aegis_model_place(a->models[index], &placement, &err), &err);
}

static void arena_place_all(arena *a)
{
    aegis_error err;
    must(aegis_memory_orchestrator_seal(a->memory, &err), &err);
    for (uint32_t i = 0; i < a->count; i++) {
        arena_place_at(a, i, arena_bind(a, i));
    }
}

/* A job of the model gives these outputs, bit for bit. */
static void assert_answers(const arena *a, uint32_t index, const conformance_outputs *good)
{
    conformance_run(a->models[index], 0);
    assert_true(conformance_equal(a->models[index], 0, good));
}

/* ---- weights ---- */

static uint64_t hash_of_shared(const arena *a, const aegis_memory_binding *binding)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < binding->placement_count; i++) {
        const aegis_memory_placement *p = &binding->placements[i];
        for (uint64_t k = 0; p->shared && k < p->size_bytes; k++) {
            hash = (hash ^ a->base[p->offset_bytes + k]) * UINT64_C(0x100000001b3);
        }
    }
    return hash;
}

/* Two instances and a cut one: one copy of the weights, loaded by the first, left by the last. */
static void instances_read_the_same_weights(void **state)
{
    (void)state;
    aegis_error err;
    arena a;
    aegis_memory_totals totals;
    need("light_squeezenet");
    arena_make(&a);
    arena_add(&a, "light_squeezenet", 1);
    aegis_memory_orchestrator_totals(a.memory, &totals);
    uint64_t weights = totals.by_class[AEGIS_MEMORY_WEIGHTS];
    arena_add(&a, "light_squeezenet", 1);
    arena_add(&a, "light_squeezenet", 3);
    aegis_memory_orchestrator_totals(a.memory, &totals);
    assert_int_equal(totals.by_class[AEGIS_MEMORY_WEIGHTS], weights);
    assert_int_equal(totals.shared_saved, 2 * totals.shared_bytes);
    conformance_run(a.models[0], 0);
    conformance_outputs good = conformance_read(a.models[0], 0);
    arena_place_all(&a);
    const aegis_memory_binding *first = arena_bind(&a, 0);
    for (uint32_t i = 1; i < 3; i++) {
        const aegis_memory_binding *other = arena_bind(&a, i);
        for (size_t k = 0; k < first->placement_count; k++) {
            if (first->placements[k].shared) {
                assert_int_equal(first->placements[k].offset_bytes,
                                 other->placements[k].offset_bytes);
            }
        }
    }
    uint64_t before = hash_of_shared(&a, first);
    for (uint32_t i = 0; i < 3; i++) {
        assert_answers(&a, i, &good);
    }
    /* The one that loaded them leaves; the others do not notice, and a new one finds them. */
    aegis_model_close(a.models[0]);
    must(aegis_memory_orchestrator_release(a.memory, 0, &err), &err);
    assert_answers(&a, 1, &good);
    a.models[0] = NULL;
    arena_add(&a, "light_squeezenet", 1);
    arena_place_at(&a, 3, arena_bind(&a, 3));
    assert_answers(&a, 3, &good);
    assert_answers(&a, 2, &good);
    assert_int_equal(hash_of_shared(&a, arena_bind(&a, 1)), before);
    a.models[0] = a.models[3];
    a.count = 3;
    arena_free(&a);
    free(good.bytes);
}

/* The holder of the only copy is gone: what comes next to its bytes must load its own. */
static void bytes_of_a_model_that_left_are_loaded_anew(void **state)
{
    (void)state;
    aegis_error err;
    arena a;
    need("light_squeezenet");
    need("ch_ppocr_mobile_v2.0_cls_infer");
    arena_make(&a);
    arena_add(&a, "light_squeezenet", 1);
    conformance_run(a.models[0], 0);
    conformance_outputs good = conformance_read(a.models[0], 0);
    arena_place_all(&a);
    aegis_model_close(a.models[0]);
    must(aegis_memory_orchestrator_release(a.memory, 0, &err), &err);
    a.count = 0;
    arena_add(&a, "ch_ppocr_mobile_v2.0_cls_infer", 1);
    arena_place_at(&a, 0, arena_bind(&a, 0));
    conformance_run(a.models[0], 0);
    arena_add(&a, "light_squeezenet", 1);
    arena_place_at(&a, 1, arena_bind(&a, 1));
    assert_answers(&a, 1, &good);
    arena_free(&a);
    free(good.bytes);
}

/* ---- packed copies ---- */

static uint64_t packed_bytes(const arena *a)
{
    aegis_memory_totals totals;
    aegis_memory_orchestrator_totals(a->memory, &totals);
    return totals.by_class[AEGIS_MEMORY_PREPACKED];
}

static uint64_t shared_packed_bytes(const aegis_memory_binding *binding)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < binding->placement_count; i++) {
        const aegis_memory_placement *p = &binding->placements[i];
        bytes += p->shared && p->memory_class == AEGIS_MEMORY_PREPACKED ? p->size_bytes : 0;
    }
    return bytes;
}

/* Two instances and a cut one pack over one another's bytes before any of them runs; one that comes
 * while they could be running does not. */
static void instances_read_the_same_packed_copies(void **state)
{
    (void)state;
    aegis_error err;
    arena a;
    need("ch_PP-OCRv4_rec_infer");
    arena_make(&a);
    arena_add(&a, "ch_PP-OCRv4_rec_infer", 1);
    uint64_t packed = packed_bytes(&a);
    assert_true(packed > (UINT64_C(2) << 20));
    arena_add(&a, "ch_PP-OCRv4_rec_infer", 1);
    arena_add(&a, "ch_PP-OCRv4_rec_infer", 3);
    conformance_run(a.models[0], 0);
    conformance_outputs good = conformance_read(a.models[0], 0);
    print_message("%" PRIu64 " bytes of packed copies, three instances: %" PRIu64 "\n", packed,
                  packed_bytes(&a));
    assert_true(packed_bytes(&a) < packed + packed / 50); /* small ones stay apart */
    arena_place_all(&a);
    uint64_t shared = shared_packed_bytes(arena_bind(&a, 0));
    assert_true(shared > packed - packed / 50);
    assert_int_equal(shared_packed_bytes(arena_bind(&a, 1)), shared);
    assert_int_equal(shared_packed_bytes(arena_bind(&a, 2)), shared);
    uint64_t before = hash_of_shared(&a, arena_bind(&a, 0));
    for (uint32_t i = 0; i < 3; i++) {
        assert_answers(&a, i, &good);
    }
    arena_add(&a, "ch_PP-OCRv4_rec_infer", 1);
    assert_true(packed_bytes(&a) > 2 * packed - packed / 50);
    assert_int_equal(shared_packed_bytes(arena_bind(&a, 3)), 0);
    arena_place_at(&a, 3, arena_bind(&a, 3));
    aegis_model_close(a.models[0]); /* what it packed stays for the others */
    must(aegis_memory_orchestrator_release(a.memory, 0, &err), &err);
    for (uint32_t i = 1; i < 4; i++) {
        assert_answers(&a, i, &good);
    }
    assert_int_equal(hash_of_shared(&a, arena_bind(&a, 1)), before);
    a.models[0] = a.models[3];
    a.count = 3;
    arena_free(&a);
    free(good.bytes);
}

/* A plan that gives one place to copies that differ is found out when they are packed there. */
static void copies_that_differ_are_not_shared(void **state)
{
    (void)state;
    aegis_error err;
    arena a;
    need("ch_PP-OCRv4_rec_infer");
    arena_make(&a);
    arena_add(&a, "ch_PP-OCRv4_rec_infer", 1);
    arena_add(&a, "ch_PP-OCRv4_rec_infer", 1);
    must(aegis_memory_orchestrator_seal(a.memory, &err), &err);
    conformance_run(a.models[0], 0);
    conformance_outputs good = conformance_read(a.models[0], 0);
    arena_place_at(&a, 0, arena_bind(&a, 0));
    aegis_memory_binding wrong = *arena_bind(&a, 1);
    aegis_memory_placement *placements = calloc(wrong.placement_count, sizeof *placements);
    assert_non_null(placements);
    memcpy(placements, wrong.placements, wrong.placement_count * sizeof *placements);
    wrong.placements = placements;
    bool exchanged = false;
    for (size_t i = 1; i < wrong.placement_count && !exchanged; i++) {
        aegis_memory_placement *p = &placements[i - 1], *q = &placements[i];
        if (p->shared && q->shared && p->memory_class == AEGIS_MEMORY_PREPACKED &&
            q->memory_class == AEGIS_MEMORY_PREPACKED && p->size_bytes == q->size_bytes &&
            p->offset_bytes != q->offset_bytes) {
            uint64_t offset = p->offset_bytes;
            p->offset_bytes = q->offset_bytes;
            q->offset_bytes = offset;
            exchanged = true;
        }
    }
    assert_true(exchanged);
    uint64_t offset = 0, size = 0;
    must(aegis_memory_orchestrator_spill_region(a.memory, 0, &offset, &size, &err), &err);
    const aegis_model_placement placement = {.base = a.base,
                                             .size_bytes = ARENA_BYTES,
                                             .binding = &wrong,
                                             .spill_base = a.base + offset,
                                             .spill_bytes = size};
    assert_int_equal(aegis_model_place(a.models[1], &placement, &err), AEGIS_ERROR_INTERNAL);
    assert_non_null(strstr(err.message, "another order"));
    assert_answers(&a, 0, &good); /* who was there has its bytes again */
    free(placements);
    free(good.bytes);
    arena_free(&a);
}

/* ---- interleavings ---- */

typedef struct interleaving {
    arena *a;
    const conformance_outputs *good;
    uint32_t order[16];
    size_t length, total;
    uint32_t next[MOST_MODELS];
    size_t tried, wrong;
} interleaving;

static void try_order(interleaving *i)
{
    aegis_error err;
    uint32_t at[MOST_MODELS] = {0};
    for (size_t m = 0; m < i->a->count; m++) {
        must(aegis_model_reset(i->a->models[m], &err), &err);
    }
    for (size_t k = 0; k < i->length; k++) {
        uint32_t m = i->order[k];
        must(aegis_model_execute(i->a->models[m], at[m]++, 0, NULL, &err), &err);
    }
    bool equal = true;
    for (size_t m = 0; m < i->a->count; m++) {
        equal = conformance_equal(i->a->models[m], 0, &i->good[m]) && equal;
    }
    i->tried++;
    i->wrong += !equal;
}

/* All merges of the models' segments, each model's in order. */
static void try_all(interleaving *i)
{
    if (i->length == i->total) {
        try_order(i);
        return;
    }
    for (uint32_t m = 0; m < i->a->count; m++) {
        if (i->next[m] < aegis_model_segment_count(i->a->models[m])) {
            i->next[m]++;
            i->order[i->length++] = m;
            try_all(i);
            i->length--;
            i->next[m]--;
        }
    }
}

static interleaving interleave(arena *a, const conformance_outputs *good)
{
    interleaving i = {.a = a, .good = good};
    for (size_t m = 0; m < a->count; m++) {
        i.total += aegis_model_segment_count(a->models[m]);
    }
    try_all(&i);
    return i;
}

static void fill(arena *a, conformance_outputs *ret_good)
{
    aegis_error err;
    arena_make(a);
    arena_add(a, "light_squeezenet", 3);
    arena_add(a, "ch_ppocr_mobile_v2.0_cls_infer", 2);
    arena_add(a, "silero_vad_16k_op15", 1);
    for (size_t m = 0; m < a->count; m++) { /* alone, in memory of their own */
        must(aegis_model_reset(a->models[m], &err), &err);
        conformance_run(a->models[m], 0);
        ret_good[m] = conformance_read(a->models[m], 0);
    }
}

/* 6! / (3! 2! 1!) orders: whatever runs between two segments of a model, what crosses its cut is
 * there afterwards. The check would see it: with boundary tensors put among the activations of the
 * lane, as if those of others could not be in between, results are wrong. */
static void every_interleaving_gives_the_same_bits(void **state)
{
    (void)state;
    conformance_outputs good[MOST_MODELS];
    arena a;
    need("light_squeezenet");
    need("ch_ppocr_mobile_v2.0_cls_infer");
    need("silero_vad_16k_op15");
    for (int broken = 0; broken < 2; broken++) {
        aegis_error err;
        fill(&a, good);
        must(aegis_memory_orchestrator_seal(a.memory, &err), &err);
        for (uint32_t m = 0; m < a.count; m++) {
            const aegis_memory_binding *binding = arena_bind(&a, m);
            size_t count = binding->placement_count;
            aegis_memory_binding moved = *binding;
            aegis_memory_placement *placements = calloc(count, sizeof *placements);
            assert_non_null(placements);
            memcpy(placements, binding->placements, count * sizeof *placements);
            for (size_t k = 0; broken != 0 && k < count; k++) {
                if (placements[k].memory_class == AEGIS_MEMORY_BOUNDARY) {
                    placements[k].offset_bytes = 0; /* of the lane's region */
                }
            }
            moved.placements = placements;
            arena_place_at(&a, m, &moved);
            free(placements);
        }
        interleaving i = interleave(&a, good);
        print_message("%zu orders, %zu wrong%s\n", i.tried, i.wrong,
                      broken != 0 ? " where boundary tensors are shared wrongly" : "");
        assert_int_equal(i.tried, 60);
        assert_true(broken != 0 ? i.wrong > 0 : i.wrong == 0);
        for (size_t m = 0; m < a.count; m++) {
            free(good[m].bytes);
        }
        arena_free(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instances_read_the_same_weights),
        cmocka_unit_test(bytes_of_a_model_that_left_are_loaded_anew),
        cmocka_unit_test(instances_read_the_same_packed_copies),
        cmocka_unit_test(copies_that_differ_are_not_shared),
        cmocka_unit_test(every_interleaving_gives_the_same_bits),
    };
    backend = onnx_backend(NULL);
    int failures = backend == NULL ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
    aegis_backend_destroy(backend);
    return failures;
}
