/* SPDX-License-Identifier: Apache-2.0 */
/* Statuses that transformer.h documents and that are not provoked on the way of other tests
 * (test_transformer_failures.c has the rest): files that cannot be read, in each way, and memory
 * that is not there. */
#include "base/base.h"
#include "support/test_allocator.h"

#include <aegisrt/transformer.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/child_process.h"

#define WIDE_BUDGET (UINT64_C(4) << 30)
#define NOBODY 65534

static char folder[] = "/tmp/aegisrt-statuses-XXXXXX";
static char made[64]; /* a good model */

static void must(aegis_status status, const aegis_error *error)
{
    if (status != AEGIS_OK) {
        fail_msg("%s: %s", aegis_status_name(status), error->message);
    }
}

static void make(const char *path)
{
    aegis_error error = {0};
    must(aegis_transformer_synthesize(path, "llama-tiny", "f32", 5, &error), &error);
}

static aegis_transformer_config config_of(const char *path)
{
    return (aegis_transformer_config){.model = path,
                                      .budget_bytes = WIDE_BUDGET,
                                      .context_tokens = 64,
                                      .threads = 2,
                                      .no_tokenizer = true};
}

static aegis_status load(const aegis_transformer_config *config, aegis_error *error)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_transformer_idle *idle = NULL;
    aegis_transformer_planned *planned = NULL;
    must(aegis_transformer_create(config, &allocator, &idle, error), error);
    const aegis_status status = aegis_transformer_load(&idle, &planned, error);
    assert_true((status == AEGIS_OK) == (planned != NULL) &&
                (status == AEGIS_OK) == (idle == NULL));
    aegis_transformer_planned_destroy(planned);
    aegis_transformer_idle_destroy(idle);
    return status;
}

static void put(const char *path, const char *name, const char *text)
{
    char whole[300];
    snprintf(whole, sizeof whole, "%s/%s", path, name);
    assert_int_equal(aegis_file_write_atomic(whole, text, strlen(text), NULL), AEGIS_OK);
}

/* A folder in the place of a file. */
static void block(const char *path, const char *name)
{
    char whole[300];
    snprintf(whole, sizeof whole, "%s/%s", path, name);
    unlink(whole);
    assert_int_equal(mkdir(whole, 0755), 0);
}

/* A user who may not read what belongs to root; false where this is impossible. */
static bool lose_rights(const char *path)
{
    return chmod(path, 0) == 0 && (geteuid() != 0 || seteuid(NOBODY) == 0);
}

static void regain_rights(const char *path, mode_t mode)
{
    if (getuid() == 0) {
        assert_int_equal(seteuid(0), 0);
    }
    assert_int_equal(chmod(path, mode), 0);
}

static void load_tells_what_is_wrong_with_files(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text; /* text NULL: a folder stands there */
        aegis_status status;
    } cases[] = {
        {"config.json", "{", AEGIS_ERROR_PARSE},
        {"config.json", "{\"model_type\": \"bert\"}", AEGIS_ERROR_UNSUPPORTED},
        {"config.json", NULL, AEGIS_ERROR_IO},
        {"model.safetensors", "short", AEGIS_ERROR_PARSE},
        {"model.safetensors", NULL, AEGIS_ERROR_IO},
        {"tokenizer.json", "[]", AEGIS_ERROR_PARSE},
        {"tokenizer.json", "{\"model\": {\"type\": \"Unigram\"}}", AEGIS_ERROR_UNSUPPORTED},
        {"tokenizer.json", NULL, AEGIS_ERROR_IO},
    };
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(cases); i++) {
        char path[128];
        aegis_error error = {0};
        snprintf(path, sizeof path, "%s/case-%zu", folder, i);
        make(path);
        aegis_transformer_config config = config_of(path);
        config.no_tokenizer = strcmp(cases[i].name, "tokenizer.json") != 0;
        if (cases[i].text != NULL) {
            put(path, cases[i].name, cases[i].text);
        } else {
            block(path, cases[i].name);
        }
        const aegis_status status = load(&config, &error);
        if (status != cases[i].status) {
            fail_msg("case %zu: %s (%s)", i, aegis_status_name(status), error.message);
        }
        assert_non_null(strstr(error.message, cases[i].name)); /* names the thing */
    }
}

static void files_without_rights_are_so_called(void **state)
{
    (void)state;
    aegis_error error = {0};
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_transformer_config config = config_of(made);
    aegis_transformer_preset preset;
    char file[300];
    snprintf(file, sizeof file, "%s/preset.toml", made);
    put(made, "preset.toml", "[model]\npath = \"m\"\n");
    assert_int_equal(chmod(folder, 0755), 0);
    if (!lose_rights(file)) {
        skip();
    }
    const aegis_status preset_status =
        aegis_transformer_preset_load(file, &allocator, &preset, &error);
    regain_rights(file, 0644);
    assert_int_equal(preset_status, AEGIS_ERROR_PERMISSION);
    snprintf(file, sizeof file, "%s/config.json", made);
    assert_true(lose_rights(file));
    const aegis_status status = load(&config, &error);
    regain_rights(file, 0644);
    assert_int_equal(status, AEGIS_ERROR_PERMISSION);
    assert_non_null(strstr(error.message, "config.json"));
}

static void presets_that_cannot_be_read(void **state)
{
    (void)state;
    const aegis_allocator default_allocator = aegis_allocator_default();
    aegis_transformer_preset preset;
    aegis_error error = {0};
    char file[300];
    assert_int_equal(aegis_transformer_preset_load(folder, &default_allocator, &preset, &error),
                     AEGIS_ERROR_IO); /* a folder */
    put(made, "whole.toml",
        "[model]\npath = \"m\"\n[plan]\nstrategy = \"auto\"\n[compute]\nproducts = \"own\"\n"
        "instructions = \"scalar\"\n");
    snprintf(file, sizeof file, "%s/whole.toml", made);
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    bool passed = false; /* no request was left to fail */
    for (uint64_t fail_at = 1; !passed; fail_at++) {
        test_allocator counter = {.fail_at = fail_at};
        const aegis_allocator allocator = test_allocator_make(&counter);
        status = aegis_transformer_preset_load(file, &allocator, &preset, &error);
        passed = counter.calls < fail_at;
        assert_int_equal(status, passed ? AEGIS_OK : AEGIS_ERROR_NO_MEMORY);
        if (status == AEGIS_OK) {
            assert_true(fail_at > 3);
            assert_string_equal(preset.config.products, "own");
            aegis_transformer_preset_finish(&preset);
        }
        assert_int_equal(counter.blocks, 0);
        assert_int_equal(counter.wrong_sizes, 0);
    }
    assert_int_equal(status, AEGIS_OK);
}

static void measuring_fails_as_reading_does(void **state)
{
    (void)state;
    char path[128], file[300];
    aegis_error error = {0};
    test_allocator counter = {0};
    const aegis_allocator allocator = test_allocator_make(&counter);
    snprintf(path, sizeof path, "%s/measured", folder);
    snprintf(file, sizeof file, "%s/model.safetensors", path);
    make(path);
    const aegis_transformer_config config = config_of(path);
    aegis_transformer_idle *idle = NULL;
    aegis_transformer_planned *planned = NULL;
    must(aegis_transformer_create(&config, &allocator, &idle, &error), &error);
    must(aegis_transformer_load(&idle, &planned, &error), &error);
    bool passed = false; /* no request was left to fail */
    for (uint64_t nth = 1; !passed; nth++) {
        counter.fail_at = counter.calls + nth;
        const aegis_status status = aegis_transformer_planned_measure(planned, &error);
        passed = counter.calls < counter.fail_at;
        assert_int_equal(status, passed ? AEGIS_OK : AEGIS_ERROR_NO_MEMORY);
        assert_true(!passed || nth > 1);
    }
    counter.fail_at = 0;
    assert_int_equal(truncate(file, 512), 0);
    assert_int_equal(aegis_transformer_planned_measure(planned, &error), AEGIS_ERROR_IO);
    assert_non_null(strstr(error.message, "model.safetensors"));
    aegis_transformer_planned_destroy(planned);
    assert_int_equal(counter.blocks, 0);
}

static void another_plan_without_memory_is_none(void **state)
{
    (void)state;
    aegis_error error = {0};
    test_allocator counter = {0};
    const aegis_allocator allocator = test_allocator_make(&counter);
    const aegis_transformer_config config = config_of(made);
    aegis_transformer_idle *idle = NULL;
    aegis_transformer_planned *planned = NULL;
    aegis_partition *partition = NULL;
    must(aegis_transformer_create(&config, &allocator, &idle, &error), &error);
    must(aegis_transformer_load(&idle, &planned, &error), &error);
    counter.fail_at = counter.calls + 1;
    assert_int_equal(
        aegis_transformer_planned_try(planned, "sequential", WIDE_BUDGET, &partition, &error),
        AEGIS_ERROR_NO_MEMORY);
    assert_null(partition);
    aegis_transformer_planned_destroy(planned);
    assert_int_equal(counter.blocks, 0);
}

/* In a process of its own that can open no more files, a library among them. */
static int create_without_library(void)
{
    const struct rlimit none = {0, 0};
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_transformer_config config = config_of(made);
    aegis_transformer_idle *idle = NULL;
    aegis_error error = {0};
    config.products = "blas";
    if (setrlimit(RLIMIT_NOFILE, &none) != 0) {
        return 2;
    }
    const aegis_status status = aegis_transformer_create(&config, &allocator, &idle, &error);
    return status == AEGIS_ERROR_RUNTIME_NOT_AVAILABLE && idle == NULL &&
                   strstr(error.message, "write \"own\"") != NULL
               ? 0
               : 1;
}

static void a_blas_that_cannot_be_opened_is_said(void **state)
{
    (void)state;
    assert_int_equal(in_child(create_without_library), 0);
}

/* Pieces of one row, every other one streamed. */
static aegis_status plan_every_other(void *self,
                                     const aegis_partition_request *request,
                                     aegis_partition_builder *builder,
                                     aegis_error *err)
{
    (void)self;
    aegis_status status = aegis_partition_set_buffers(builder, 2, err);
    for (uint32_t u = 0; u < request->unit_count && status == AEGIS_OK; u++) {
        status = u % 2 == 0 && !request->units[u].lookup
                     ? aegis_partition_stream(builder, request->units[u].rows, err)
                     : aegis_partition_pin(builder, request->units[u].rows, err);
        aegis_partition_end_group(builder);
    }
    return status;
}

static void evaluating_fails_as_reading_does(void **state)
{
    (void)state;
    static const aegis_partition_strategy strategy = {1, "every other", plan_every_other, NULL};
    static const uint32_t tokens[] = {1, 2, 3};
    const aegis_allocator allocator = aegis_allocator_default();
    char path[128], file[300];
    aegis_error error = {0};
    float logits[301];
    snprintf(path, sizeof path, "%s/evaluated", folder);
    snprintf(file, sizeof file, "%s/model.safetensors", path);
    make(path);
    aegis_transformer_config config = config_of(path);
    config.own_strategy = &strategy;
    aegis_transformer_idle *idle = NULL;
    aegis_transformer_planned *planned = NULL;
    aegis_transformer_ready *ready = NULL;
    must(aegis_transformer_create(&config, &allocator, &idle, &error), &error);
    must(aegis_transformer_load(&idle, &planned, &error), &error);
    must(aegis_transformer_prepare(&planned, &ready, &error), &error);
    must(aegis_transformer_evaluate(ready, tokens, 3, logits, &error), &error);
    assert_int_equal(truncate(file, 4096), 0);
    aegis_status status = AEGIS_OK;
    for (int i = 0; i < 5 && status == AEGIS_OK; i++) { /* some groups were read ahead */
        status = aegis_transformer_evaluate(ready, tokens, 3, logits, &error);
    }
    assert_int_equal(status, AEGIS_ERROR_IO);
    aegis_transformer_ready_destroy(ready);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MOST_BLOCKS 1000
#define LIMIT_NOT_KEPT 3

/* In a process of its own, whose memory is used up: this call has no allocator. An emulator may
 * pass over the limit. */
static int synthesize_without_memory(void)
{
    const struct rlimit none = {0, 0};
    char path[128];
    aegis_error error = {0};
    snprintf(path, sizeof path, "%s/never", folder);
    if (setrlimit(RLIMIT_AS, &none) != 0) {
        return 2;
    }
    for (size_t size = 1 << 20; size >= 1024; size /= 2) {
        for (int i = 0; malloc(size) != NULL; i++) {
            if (i == MOST_BLOCKS) {
                return LIMIT_NOT_KEPT;
            }
        }
    }
    return aegis_transformer_synthesize(path, "llama-tiny", "f32", 1, &error) ==
                   AEGIS_ERROR_NO_MEMORY
               ? 0
               : 1;
}

static void making_a_model_without_memory_fails(void **state)
{
    (void)state;
    const int result = in_child(synthesize_without_memory);
    if (result == LIMIT_NOT_KEPT) {
        print_message("skipped: this system does not limit memory\n");
        skip();
    }
    assert_int_equal(result, 0);
}
#endif

static int set_up(void **state)
{
    (void)state;
    aegis_error error;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(made, sizeof made, "%s/made", folder);
    return aegis_transformer_synthesize(made, "llama-tiny", "f32", 5, &error) == AEGIS_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(load_tells_what_is_wrong_with_files),
        cmocka_unit_test(files_without_rights_are_so_called),
        cmocka_unit_test(presets_that_cannot_be_read),
        cmocka_unit_test(measuring_fails_as_reading_does),
        cmocka_unit_test(another_plan_without_memory_is_none),
        cmocka_unit_test(a_blas_that_cannot_be_opened_is_said),
        cmocka_unit_test(evaluating_fails_as_reading_does),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(making_a_model_without_memory_fails),
#endif
    };
    return cmocka_run_group_tests_name("transformer statuses", tests, set_up, tear_down);
}
