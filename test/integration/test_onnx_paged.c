/* SPDX-License-Identifier: Apache-2.0 */
/* Models that take turns in one region for weights: same bits as resident ones, whoever ran
 * before, and nothing of it in silence. */
#include "integration/onnx_models.h"
#include "support/backend_conformance.h"

#include "backend/onnxruntime/inject.h"
#include "base/base.h"

#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define ARENA_BYTES (UINT64_C(64) << 20)
#define MODELS 3

static const char *const STEMS[MODELS] = {"light_squeezenet", "ch_ppocr_mobile_v2.0_cls_infer",
                                          "magika"};
static aegis_backend *backend;
static char cache[1024];

typedef struct arena {
    unsigned char *base;
    aegis_memory_orchestrator *memory;
    const void *resident; /* whose weights lie in the paged region */
    aegis_model *models[MODELS];
    uint64_t image[MODELS];
} arena;

static aegis_model *open_model(const char *stem, aegis_residency residency)
{
    aegis_error err;
    aegis_source sources[4];
    char path[1024];
    aegis_model *model = NULL;
    aegis_model_config config = onnx_config(onnx_find(stem), sources, path, sizeof path);
    config.residency = residency;
    must(aegis_model_open(backend, &config, &model, &err), &err);
    must(aegis_model_record(model, NULL, &err), &err);
    return model;
}

static void arena_make(arena *a, aegis_residency residency)
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
    for (uint32_t i = 0; i < MODELS; i++) {
        const aegis_tensor_lifetime *lifetimes = NULL;
        size_t count = 0;
        uint64_t by_class[AEGIS_MEMORY_CLASS_COUNT];
        a->models[i] = open_model(STEMS[i], residency);
        must(aegis_model_estimate_lifetimes(a->models[i], &lifetimes, &count, &err), &err);
        must(aegis_model_estimate_memory(a->models[i], by_class, &err), &err);
        a->image[i] = by_class[AEGIS_MEMORY_PAGED];
        assert_true(residency == AEGIS_PAGED
                        ? by_class[AEGIS_MEMORY_WEIGHTS] + by_class[AEGIS_MEMORY_PREPACKED] == 0
                        : a->image[i] == 0);
        const aegis_memory_demand demand = {
            .model = i, .name = STEMS[i], .lifetimes = lifetimes, .lifetime_count = count};
        must(aegis_memory_orchestrator_plan(a->memory, &demand, &err), &err);
    }
    must(aegis_memory_orchestrator_seal(a->memory, &err), &err);
}

static aegis_status place(arena *a, uint32_t index, aegis_error *err)
{
    const aegis_memory_binding *binding = NULL;
    uint64_t offset = 0, size = 0;
    must(aegis_memory_orchestrator_bind(a->memory, index, &binding, err), err);
    must(aegis_memory_orchestrator_spill_region(a->memory, 0, &offset, &size, err), err);
    const aegis_model_placement placement = {.base = a->base,
                                             .size_bytes = ARENA_BYTES,
                                             .binding = binding,
                                             .spill_base = a->base + offset,
                                             .spill_bytes = size,
                                             .paged_resident = &a->resident};
    return aegis_model_place(a->models[index], &placement, err);
}

static void place_all(arena *a)
{
    aegis_error err;
    for (uint32_t i = 0; i < MODELS; i++) {
        must(place(a, i, &err), &err);
    }
}

static void arena_free(arena *a)
{
    for (size_t i = 0; i < MODELS; i++) {
        aegis_model_close(a->models[i]);
    }
    aegis_memory_orchestrator_destroy(a->memory);
    free(a->base);
}

static uint64_t run(aegis_model *model)
{
    conformance_run(model, 0);
    return aegis_model_last_paged_bytes(model);
}

/* What resident models compute. */
static void read_good(conformance_outputs *ret_good)
{
    arena a;
    arena_make(&a, AEGIS_RESIDENT);
    place_all(&a);
    for (int i = 0; i < MODELS; i++) {
        assert_int_equal(run(a.models[i]), 0);
        ret_good[i] = conformance_read(a.models[i], 0);
    }
    arena_free(&a);
}

static void free_good(conformance_outputs *good)
{
    for (int i = 0; i < MODELS; i++) {
        free(good[i].bytes);
    }
}

/* ---- results and bytes ---- */

static void whoever_ran_before_the_bits_are_the_same(void **state)
{
    (void)state;
    conformance_outputs good[MODELS];
    arena a;
    aegis_memory_totals totals;
    uint64_t most = 0, sum = 0, seed = 5;
    read_good(good);
    arena_make(&a, AEGIS_PAGED);
    for (int i = 0; i < MODELS; i++) {
        assert_true(a.image[i] > 0 && a.image[i] % 4096 == 0);
        most = a.image[i] > most ? a.image[i] : most;
        sum += a.image[i];
    }
    aegis_memory_orchestrator_totals(a.memory, &totals);
    assert_int_equal(totals.by_class[AEGIS_MEMORY_PAGED], most);
    assert_int_equal(totals.paged_sum, sum);
    place_all(&a);
    /* The last one to be placed lies there. */
    assert_int_equal(run(a.models[MODELS - 1]), 0);
    for (int i = 0; i < MODELS; i++) {
        assert_int_equal(run(a.models[i]), a.image[i]);
        assert_true(conformance_equal(a.models[i], 0, &good[i]));
        assert_int_equal(run(a.models[i]), 0);
        assert_true(conformance_equal(a.models[i], 0, &good[i]));
    }
    int there = MODELS - 1;
    for (int step = 0; step < 40; step++) {
        int i = (int)(aegis_random_next(&seed) % MODELS);
        assert_int_equal(run(a.models[i]), i == there ? 0 : a.image[i]);
        assert_true(conformance_equal(a.models[i], 0, &good[i]));
        there = i;
    }
    arena_free(&a);
    free_good(good);
}

/* The profile is taken there: the worst case has to be every case. */
static void a_trial_reads_before_every_run(void **state)
{
    (void)state;
    conformance_outputs good[MODELS];
    read_good(good);
    for (int i = 0; i < MODELS; i++) {
        aegis_error err;
        uint64_t by_class[AEGIS_MEMORY_CLASS_COUNT];
        aegis_model *model = open_model(STEMS[i], AEGIS_PAGED);
        must(aegis_model_estimate_memory(model, by_class, &err), &err);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(run(model), by_class[AEGIS_MEMORY_PAGED]);
            assert_true(conformance_equal(model, 0, &good[i]));
        }
        /* Recorded anew, it is the same model. */
        must(aegis_model_record(model, NULL, &err), &err);
        uint64_t again[AEGIS_MEMORY_CLASS_COUNT];
        must(aegis_model_estimate_memory(model, again, &err), &err);
        assert_memory_equal(by_class, again, sizeof again);
        aegis_model_close(model);
    }
    free_good(good);
}

/* Profiled first, then placed, in one life. */
static void a_trial_that_ran_can_be_placed(void **state)
{
    (void)state;
    conformance_outputs good[MODELS];
    arena a;
    read_good(good);
    arena_make(&a, AEGIS_PAGED);
    for (int i = 0; i < MODELS; i++) {
        assert_int_equal(run(a.models[i]), a.image[i]);
    }
    place_all(&a);
    for (int i = 0; i < 2 * MODELS; i++) {
        assert_int_equal(run(a.models[i % MODELS]), a.image[i % MODELS]);
        assert_true(conformance_equal(a.models[i % MODELS], 0, &good[i % MODELS]));
    }
    arena_free(&a);
    free_good(good);
}

/* Nothing in the region can be trusted when nobody is said to be there. */
static void what_was_overwritten_is_read_again(void **state)
{
    (void)state;
    conformance_outputs good[MODELS];
    aegis_error err;
    arena a;
    const aegis_memory_binding *binding = NULL;
    read_good(good);
    arena_make(&a, AEGIS_PAGED);
    place_all(&a);
    must(aegis_memory_orchestrator_bind(a.memory, 0, &binding, &err), &err);
    for (size_t i = 0; i < binding->placement_count; i++) {
        const aegis_memory_placement *p = &binding->placements[i];
        if (p->memory_class == AEGIS_MEMORY_PAGED) {
            memset(a.base + p->offset_bytes, 0x5a, p->size_bytes);
        }
    }
    a.resident = NULL;
    for (int i = 0; i < MODELS; i++) {
        assert_int_equal(run(a.models[i]), a.image[i]);
        assert_true(conformance_equal(a.models[i], 0, &good[i]));
    }
    /* A model that leaves is not taken for the next one that gets its address. */
    aegis_model_close(a.models[MODELS - 1]);
    a.models[MODELS - 1] = NULL;
    assert_null(a.resident);
    arena_free(&a);
    free_good(good);
}

/* ---- ending ---- */

typedef struct ending {
    aegis_model *model;
    _Atomic bool stop;
} ending;

static void *keep_ending(void *argument)
{
    ending *e = argument;
    while (!atomic_load(&e->stop)) {
        aegis_model_terminate(e->model);
    }
    return NULL;
}

static void a_run_ends_while_its_weights_are_read(void **state)
{
    (void)state;
    conformance_outputs good[MODELS];
    arena a;
    pthread_t thread;
    bool within = false;
    read_good(good);
    arena_make(&a, AEGIS_PAGED);
    place_all(&a);
    ending e = {.model = a.models[0]};
    assert_int_equal(pthread_create(&thread, NULL, keep_ending, &e), 0);
    for (int i = 0; i < 200 && !within; i++) {
        aegis_error err;
        a.resident = NULL;
        aegis_status status = aegis_model_execute(a.models[0], 0, 0, NULL, &err);
        assert_true(status == AEGIS_OK || status == AEGIS_ERROR_TERMINATED);
        within = aegis_model_last_paged_bytes(a.models[0]) < a.image[0];
        if (within) {
            assert_int_equal(status, AEGIS_ERROR_TERMINATED);
            assert_null(a.resident);
        }
    }
    atomic_store(&e.stop, true);
    pthread_join(thread, NULL);
    assert_true(within);
    /* What was read in part is read whole. */
    assert_int_equal(run(a.models[0]), a.image[0]);
    assert_true(conformance_equal(a.models[0], 0, &good[0]));
    arena_free(&a);
    free_good(good);
}

/* ---- damage ---- */

static void find_image(uint64_t size, char *ret_path, size_t room)
{
    glob_t found;
    char pattern[1100];
    struct stat info;
    snprintf(pattern, sizeof pattern, "%s/*/image-*.bin", cache);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    ret_path[0] = '\0';
    for (size_t i = 0; i < found.gl_pathc; i++) {
        if (stat(found.gl_pathv[i], &info) == 0 && (uint64_t)info.st_size == size) {
            snprintf(ret_path, room, "%s", found.gl_pathv[i]);
        }
    }
    globfree(&found);
    assert_int_not_equal(ret_path[0], '\0');
}

static void change_byte(const char *path, off_t at)
{
    unsigned char byte = 0;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    assert_int_equal(fsync(fd), 0);
    close(fd);
}

static void refused_run(aegis_model *model, const char *path)
{
    aegis_error err;
    aegis_status status = aegis_model_execute(model, 0, 0, NULL, &err);
    assert_int_equal(status, AEGIS_ERROR_ENGINE_DESERIALIZE);
    assert_int_equal(err.category, AEGIS_CATEGORY_PERMANENT);
    assert_non_null(strstr(err.message, path));
}

static void a_damaged_file_is_never_executed(void **state)
{
    (void)state;
    conformance_outputs good[MODELS];
    char path[2048];
    aegis_error err;
    arena a;
    read_good(good);
    arena_make(&a, AEGIS_PAGED);
    place_all(&a);
    find_image(a.image[0], path, sizeof path);
    /* while it is open */
    change_byte(path, (off_t)(a.image[0] / 2));
    refused_run(a.models[0], path);
    assert_null(a.resident);
    change_byte(path, (off_t)(a.image[0] / 2));
    assert_int_equal(run(a.models[0]), a.image[0]);
    assert_true(conformance_equal(a.models[0], 0, &good[0]));
    assert_int_equal(run(a.models[1]), a.image[1]);
    assert_int_equal(truncate(path, (off_t)(a.image[0] - 4096)), 0);
    refused_run(a.models[0], path);
    assert_int_equal(truncate(path, 100), 0);
    refused_run(a.models[0], path);
    arena_free(&a);

    /* when it is opened */
    arena_make(&a, AEGIS_PAGED);
    assert_int_equal(place(&a, 0, &err), AEGIS_ERROR_ENGINE_DESERIALIZE);
    assert_non_null(strstr(err.message, path));
    assert_false(aegis_model_is_placed(a.models[0]));
    assert_int_equal(unlink(path), 0);
    must(place(&a, 0, &err), &err); /* made anew */
    assert_true(run(a.models[0]) == 0 && conformance_equal(a.models[0], 0, &good[0]));
    arena_free(&a);
    arena_make(&a, AEGIS_PAGED);
    find_image(a.image[0], path, sizeof path);
    change_byte(path, 64);
    assert_int_equal(place(&a, 0, &err), AEGIS_ERROR_ENGINE_DESERIALIZE);
    change_byte(path, 64);
    must(place(&a, 0, &err), &err);
    assert_int_equal(run(a.models[0]), 0);
    assert_true(conformance_equal(a.models[0], 0, &good[0]));
    arena_free(&a);
    free_good(good);
}

/* ---- what cannot be paged ---- */

static void what_cannot_be_paged_is_refused(void **state)
{
    (void)state;
    aegis_error err;
    aegis_source sources[4];
    char path[1024];
    const uint32_t cut = 10;
    aegis_model *model = NULL;
    aegis_model_config config =
        onnx_config(onnx_find("light_squeezenet"), sources, path, sizeof path);
    config.residency = AEGIS_PAGED;
    config.cuts = &cut;
    config.cut_count = 1;
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "cannot be cut"));
    model = open_model("light_squeezenet", AEGIS_PAGED);
    const aegis_cut_candidate *candidates = NULL;
    size_t count = 0;
    assert_int_equal(aegis_model_cut_candidates(model, NULL, &candidates, &count, &err),
                     AEGIS_ERROR_UNSUPPORTED);
    aegis_model_close(model);
}

/* Weights of a graph that is optimised whenever it is loaded have no place of their own. */
static void what_is_optimised_at_load_is_refused(void **state)
{
    (void)state;
    static const char *const control_flow[] = {"silero_vad", "silero_vad_16k_op15",
                                               "silero_vad_half"};
    size_t found = 0;
    for (size_t i = 0; i < 3; i++) {
        aegis_error err;
        aegis_source sources[4];
        char path[1024];
        aegis_model *model = NULL;
        if (!onnx_there(control_flow[i])) {
            continue;
        }
        aegis_model_config config =
            onnx_config(onnx_find(control_flow[i]), sources, path, sizeof path);
        must(aegis_model_open(backend, &config, &model, &err), &err);
        bool at_load = aegis_onnxruntime_optimises_at_load(model);
        aegis_model_close(model);
        config.residency = AEGIS_PAGED;
        aegis_status status = aegis_model_open(backend, &config, &model, &err);
        assert_int_equal(status, at_load ? AEGIS_ERROR_UNSUPPORTED : AEGIS_OK);
        if (at_load) {
            assert_non_null(strstr(err.message, "optimised at load"));
            found++;
        } else {
            aegis_model_close(model);
        }
    }
    print_message("%zu models are optimised at load\n", found);
}

/* A profile of one may never stand for the other. */
static void labels_tell_what_moves_times(void **state)
{
    (void)state;
    aegis_model *resident = open_model(STEMS[0], AEGIS_RESIDENT);
    aegis_model *paged = open_model(STEMS[0], AEGIS_PAGED);
    assert_string_not_equal(aegis_model_label(resident), aegis_model_label(paged));
    aegis_model_close(resident);
    aegis_model_close(paged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_ran_before_the_bits_are_the_same),
        cmocka_unit_test(a_trial_reads_before_every_run),
        cmocka_unit_test(a_trial_that_ran_can_be_placed),
        cmocka_unit_test(what_was_overwritten_is_read_again),
        cmocka_unit_test(a_run_ends_while_its_weights_are_read),
        cmocka_unit_test(a_damaged_file_is_never_executed),
        cmocka_unit_test(what_cannot_be_paged_is_refused),
        cmocka_unit_test(what_is_optimised_at_load_is_refused),
        cmocka_unit_test(labels_tell_what_moves_times),
    };
    for (int i = 0; i < MODELS; i++) {
        if (!onnx_there(STEMS[i])) {
            printf("skipped: no models/%s.onnx; 'make models' fetches it\n", STEMS[i]);
            return 77;
        }
    }
    const char *folder = getenv("AEGISRT_BINARY_DIR");
    char command[1100];
    snprintf(cache, sizeof cache, "%s/paged-XXXXXX", folder != NULL ? folder : "/tmp");
    if (mkdtemp(cache) == NULL) {
        return 1;
    }
    backend = onnx_backend(cache);
    int failures = backend == NULL ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
    aegis_backend_destroy(backend);
    snprintf(command, sizeof command, "rm -rf '%s'", cache);
    return system(command) == 0 ? failures : 1; /* NOLINT: a folder that this program made */
}
