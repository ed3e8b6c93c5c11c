/* SPDX-License-Identifier: Apache-2.0 */
/* Models come and go, with their bytes, while others run. */
#include "planted.h"

/* Of every model, planted: far above what they take, and far below their periods. */
#define BOUND_NS (20 * UINT64_C(1000000))

#define HEAD(memory)                                                  \
    "[device]\nkind = \"host\"\nmemory = \"" memory "\"\nlanes = 1\n" \
    "[schedule]\npolicy = \"np-edf\"\nqueue_depth = 8\n"
#define MODEL(name, path, rest)                                         \
    "[[model]]\nname = \"" name "\"\npath = \"models/" path ".onnx\"\n" \
    "margin = 2.0\nconfidence = 0.9\noverrun = \"report\"\n" rest
#define SMALL(name)                               \
    MODEL(name, "ch_ppocr_mobile_v2.0_cls_infer", \
          "period = \"300ms\"\ninputs = { x = [1, 3, 48, 192] }\n")
#define OBJECTS_KEYS "period = \"500ms\"\ninputs = { data_0 = [1, 3, 224, 224] }\n"
#define CONTENT                \
    MODEL("content", "magika", \
          "period = \"500ms\"\nsource = \"random(0, 255)\"\ninputs = { bytes = [1, 2048] }\n")

static uint64_t planned(const running *r)
{
    aegis_memory_totals totals;
    uint64_t peak;
    aegis_system_memory(r->system, &totals, &peak);
    return totals.planned_bytes;
}

/* Where its permanent tensors are, in one number. */
static uint64_t places_of(const running *r, uint32_t model)
{
    const aegis_memory_binding *binding;
    const aegis_tensor_lifetime *lifetimes;
    size_t count;
    aegis_error err = {0};
    uint64_t hash = 1;
    check(aegis_system_binding(r->system, model, &binding, &lifetimes, &count, &err), &err);
    for (size_t i = 0; i < binding->placement_count; i++) {
        hash = hash * 31 + binding->placements[i].offset_bytes;
    }
    return hash;
}

static const aegis_system_model *row(const running *r, uint32_t model)
{
    size_t count;
    return &aegis_system_models(r->system, &count)[model];
}

static void finish_and_replay(running *r)
{
    aegis_error err = {0};
    check(aegis_system_stop(r->system, &err), &err);
    aegis_replay_result result = replay(r);
    assert_true(result.decisions > 10);
    assert_int_equal(result.identical, result.decisions);
    tear_down(r);
}

static void bytes_come_and_go_with_their_models(void **state)
{
    (void)state;
    running r;
    aegis_error err = {0};
    prepare_planted(
        &r, HEAD("64MiB") SMALL("a") MODEL("objects", "light_squeezenet", OBJECTS_KEYS) CONTENT,
        (aegis_system_options){0}, BOUND_NS);
    check(aegis_system_start(r.system, &err), &err);
    run_jobs(&r, 1, 1);
    uint64_t all = planned(&r), first = places_of(&r, 0), third = places_of(&r, 2);
    assert_int_equal(aegis_system_add(r.system, 1, &err), AEGIS_ERROR_EXISTS);
    check(aegis_system_remove(r.system, 1, &err), &err);
    assert_int_equal(aegis_system_remove(r.system, 1, &err), AEGIS_ERROR_NOT_FOUND);
    assert_int_equal(aegis_system_remove(r.system, 9, &err), AEGIS_ERROR_NOT_FOUND);
    assert_false(row(&r, 1)->admitted);
    assert_null(aegis_system_backend_model(r.system, 1));
    assert_true(planned(&r) < all);
    run_jobs(&r, 0, 1);
    check(aegis_system_add(r.system, 1, &err), &err);
    assert_true(row(&r, 1)->admitted);
    assert_int_equal(planned(&r), all);
    /* Who stayed was not moved. */
    assert_int_equal(places_of(&r, 0), first);
    assert_int_equal(places_of(&r, 2), third);
    run_jobs(&r, 1, 1);
    run_jobs(&r, 0, 1);
    finish_and_replay(&r);
}

#define TINY                          \
    MODEL("tiny", "light_shufflenet", \
          "period = \"500ms\"\ninputs = { \"gpu_0/data_0\" = [1, 3, 224, 224] }\n")
#define OBJECTS MODEL("objects", "light_squeezenet", OBJECTS_KEYS)

static uint64_t own_bytes(const running *r, uint32_t model)
{
    return row(r, model)->memory_bytes - row(r, model)->activation_bytes;
}

/* content | between | tiny | last: without content and tiny there are two holes, and objects is
 * larger than each. It is told so, compaction brings it in, and who stands between is moved. */
static void what_fits_only_after_moving_is_told_and_moved(void **state)
{
    (void)state;
    running r;
    aegis_error err = {0};
    static const char models[] = CONTENT SMALL("between") TINY SMALL("last") OBJECTS;
    char text[4096];
    snprintf(text, sizeof text, "%s%s", HEAD("64MiB"), models);
    prepare_planted(&r, text, (aegis_system_options){0}, BOUND_NS);
    uint64_t content = own_bytes(&r, 0), tiny = own_bytes(&r, 2), objects = own_bytes(&r, 4);
    uint64_t all = planned(&r);
    tear_down(&r);
    assert_true(objects > content && objects > tiny && objects < content + tiny);
    snprintf(text, sizeof text,
             "[device]\nkind = \"host\"\nmemory = \"%llu\"\nlanes = 1\n"
             "[schedule]\npolicy = \"np-edf\"\nqueue_depth = 8\n%s",
             (unsigned long long)((all - objects + (64 << 10)) & ~UINT64_C(4095)), models);
    prepare_planted(&r, text, (aegis_system_options){0}, BOUND_NS);
    assert_true(row(&r, 0)->admitted && row(&r, 1)->admitted && row(&r, 2)->admitted);
    assert_false(row(&r, 4)->admitted);
    assert_int_equal(row(&r, 4)->rationale, AEGIS_WHY_MEMORY);
    check(aegis_system_start(r.system, &err), &err);
    run_jobs(&r, 1, 1);
    check(aegis_system_remove(r.system, 0, &err), &err);
    check(aegis_system_remove(r.system, 2, &err), &err);
    aegis_status status = aegis_system_add(r.system, 4, &err);
    printf("%s\n", status == AEGIS_OK ? "it fitted a hole" : err.message);
    assert_int_equal(status, AEGIS_ERROR_NOT_ADMITTED);
    assert_true(row(&r, 4)->memory_refusal.fits_after_moving);
    uint64_t before = places_of(&r, 1);
    check(aegis_system_compact(r.system, 4, &err), &err);
    assert_int_not_equal(places_of(&r, 1), before);
    assert_true(row(&r, 1)->admitted && row(&r, 3)->admitted && row(&r, 4)->admitted);
    run_jobs(&r, 1, 1);
    run_jobs(&r, 3, 1);
    run_jobs(&r, 4, 1);
    /* What does not fit so either is refused, and nobody is missing afterwards. */
    status = aegis_system_compact(r.system, 0, &err);
    assert_int_equal(status, AEGIS_ERROR_NOT_ADMITTED);
    assert_true(row(&r, 1)->admitted && row(&r, 3)->admitted && row(&r, 4)->admitted);
    assert_false(row(&r, 0)->admitted);
    run_jobs(&r, 1, 1);
    run_jobs(&r, 4, 1);
    finish_and_replay(&r);
}

#define PAGED_KEYS "period = \"2s\"\nlane = 0\nresidency = \"paged\"\n"

static void a_paged_model_is_not_loaded_over_another(void **state)
{
    (void)state;
    running r;
    aegis_error err = {0};
    prepare_planted(&r,
                    HEAD("64MiB") MODEL("objects", "light_squeezenet",
                                        PAGED_KEYS "inputs = { data_0 = [1, 3, 224, 224] }\n")
                        MODEL("content", "magika",
                              PAGED_KEYS
                              "source = \"random(0, 255)\"\ninputs = { bytes = [1, 2048] }\n"),
                    (aegis_system_options){0}, BOUND_NS);
    printf("%s%s\n", row(&r, 0)->reason, row(&r, 1)->reason);
    assert_true(row(&r, 0)->paged_bytes > 0 && row(&r, 1)->paged_bytes > 0);
    check(aegis_system_start(r.system, &err), &err);
    run_jobs(&r, 0, 1);
    check(aegis_system_remove(r.system, 0, &err), &err);
    assert_int_equal(aegis_system_add(r.system, 0, &err), AEGIS_ERROR_STATE);
    assert_non_null(strstr(err.message, "paged"));
    check(aegis_system_compact(r.system, 0, &err), &err);
    run_jobs(&r, 0, 1);
    run_jobs(&r, 1, 1);
    check(aegis_system_remove(r.system, 1, &err), &err);
    check(aegis_system_remove(r.system, 0, &err), &err);
    check(aegis_system_add(r.system, 0, &err), &err);
    check(aegis_system_compact(r.system, AEGIS_SYSTEM_NOBODY, &err), &err);
    run_jobs(&r, 0, 1);
    finish_and_replay(&r);
}

#define READER(name, tokens, rest)                                                                \
    MODEL(name, "all-minilm-l6-v2",                                                               \
          "period = \"3s\"\ninputs = { input_ids = [1, " tokens "], attention_mask = [1, " tokens \
          "], token_type_ids = [1, " tokens "] }\nsource = { input_ids = \"random(0, 30521)\", "  \
          "attention_mask = 1, token_type_ids = 0 }\n" rest)

/* The second reader's packed copies are its own; without them it reads the weights of the first. */
static void packed_copies_are_given_up_when_memory_is_short(void **state)
{
    (void)state;
    running r;
    if (access("models/all-minilm-l6-v2.onnx", R_OK) != 0) {
        skip();
    }
    prepare_planted(&r,
                    HEAD("100MiB") READER("first", "16", "prepack = false\n")
                        READER("second", "8", "prepack = \"auto\"\n"),
                    (aegis_system_options){0}, BOUND_NS);
    printf("%s\n", row(&r, 1)->reason);
    assert_true(row(&r, 0)->admitted && row(&r, 1)->admitted);
    assert_false(row(&r, 0)->prepacked || row(&r, 0)->unpacked_for_memory);
    assert_true(row(&r, 1)->unpacked_for_memory && !row(&r, 1)->prepacked);
    assert_int_equal(row(&r, 1)->unpacking_price_ns, BOUND_NS / 4); /* as it was planted */
    tear_down(&r);
    /* With room enough they stay. */
    prepare_planted(&r,
                    HEAD("300MiB") READER("first", "16", "prepack = false\n")
                        READER("second", "8", "prepack = \"auto\"\n"),
                    (aegis_system_options){0}, BOUND_NS);
    assert_true(row(&r, 1)->admitted && row(&r, 1)->prepacked);
    assert_false(row(&r, 1)->unpacked_for_memory);
    tear_down(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_and_go_with_their_models),
        cmocka_unit_test(what_fits_only_after_moving_is_told_and_moved),
        cmocka_unit_test(a_paged_model_is_not_loaded_over_another),
        cmocka_unit_test(packed_copies_are_given_up_when_memory_is_short),
    };
    skip_without_models();
    return cmocka_run_group_tests(tests, make_planted_cache, remove_planted_cache);
}
