/* SPDX-License-Identifier: Apache-2.0 */
/* Presets, and models made up by name. */
#include "engine_fixture.h"

static aegis_status load_preset(const char *text, aegis_transformer_preset *ret, aegis_error *error)
{
    char path[256];
    const aegis_allocator allocator = aegis_allocator_default();
    snprintf(path, sizeof path, "%s/preset.toml", folder);
    assert_int_equal(aegis_file_write_atomic(path, text, strlen(text), NULL), AEGIS_OK);
    return aegis_transformer_preset_load(path, &allocator, ret, error);
}

static void presets_are_read_and_checked(void **state)
{
    (void)state;
    aegis_transformer_preset preset = {0};
    aegis_error error = {0};
    must(load_preset("[model]\npath = \"m\"\n[memory]\nbudget = \"128MiB\"\nkv_cache = \"f16\"\n"
                     "[plan]\nstrategy = \"sequential\"\n[generate]\ntemperature = 1\nseed = 5\n",
                     &preset, &error),
         &error);
    assert_string_equal(preset.config.model, "m");
    assert_int_equal(preset.config.budget_bytes, 128 << 20);
    assert_true(preset.config.half_cache);
    assert_string_equal(preset.config.strategy, "sequential");
    assert_true(preset.request.temperature > 0.999);
    assert_int_equal(preset.request.seed, 5);
    aegis_transformer_preset_finish(&preset);
    static const struct {
        const char *text, *words;
        aegis_status status;
    } bad[] = {
        {"[memory]\nbudgit = \"1M\"\n",
         "preset.toml:2:1: unknown key \"budgit\"; did you mean \"budget\"?", AEGIS_ERROR_CONFIG},
        {"[device]\nkind = \"host\"\n",
         "unknown table \"device\"; known are model, memory, plan, compute, generate",
         AEGIS_ERROR_CONFIG},
        {"[memori]\nbudget = \"1M\"\n", "unknown table \"memori\"; did you mean \"memory\"?",
         AEGIS_ERROR_CONFIG},
        {"[memory]\nbudget = 5\n", "preset.toml:2:10", AEGIS_ERROR_CONFIG},
        {"[memory]\nbudget = \"much\"\n", "preset.toml:2:10", AEGIS_ERROR_CONFIG},
        {"[memory]\nkv_cache = \"f64\"\n", "\"f32\" or \"f16\"", AEGIS_ERROR_CONFIG},
        {"[generate]\ntop_k = -1\n", "not negative", AEGIS_ERROR_CONFIG},
        {"[generate]\ntemperature = \"hot\"\n", "write a number", AEGIS_ERROR_CONFIG},
        {"[model]\npath = 5\n", "write a text", AEGIS_ERROR_CONFIG},
        {"model = 5\n", "is a table", AEGIS_ERROR_CONFIG},
        {"[model\n", "preset.toml:1", AEGIS_ERROR_PARSE},
    };
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(bad); i++) {
        assert_int_equal(load_preset(bad[i].text, &preset, &error), bad[i].status);
        if (strstr(error.message, bad[i].words) == NULL) {
            fail_msg("\"%s\" has no \"%s\"", error.message, bad[i].words);
        }
    }
    const aegis_allocator allocator = aegis_allocator_default();
    assert_int_equal(
        aegis_transformer_preset_load("/nonexistent.toml", &allocator, &preset, &error),
        AEGIS_ERROR_NOT_FOUND);
    aegis_transformer_preset_finish(&preset);
}

static void the_presets_of_the_project_are_good(void **state)
{
    (void)state;
    static const char *const names[] = {"rpi4_default", "constrained_2gb", "performance"};
    const aegis_allocator allocator = aegis_allocator_default();
    const char *source = getenv("AEGISRT_SOURCE_DIR");
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(names); i++) {
        char path[1024];
        aegis_transformer_preset preset = {0};
        aegis_transformer_idle *idle = NULL;
        aegis_error error = {0};
        snprintf(path, sizeof path, "%s/configs/%s.toml", source != NULL ? source : ".", names[i]);
        must(aegis_transformer_preset_load(path, &allocator, &preset, &error), &error);
        must(aegis_transformer_create(&preset.config, &allocator, &idle, &error), &error);
        aegis_transformer_idle_destroy(idle);
        aegis_transformer_preset_finish(&preset);
    }
}

static void made_up_models_are_refused_by_name(void **state)
{
    (void)state;
    aegis_error error = {0};
    assert_int_equal(aegis_transformer_synthesize(folder, "gpt5", "f32", 1, &error),
                     AEGIS_ERROR_NOT_FOUND);
    assert_int_equal(aegis_transformer_synthesize(folder, "gpt2-tiny", "f8", 1, &error),
                     AEGIS_ERROR_CONFIG);
    char blocked[256], inside[512];
    snprintf(blocked, sizeof blocked, "%s/blocked", folder);
    snprintf(inside, sizeof inside, "%s/model.safetensors",
             blocked); /* a folder in the file's place */
    assert_int_equal(aegis_folder_create(inside, NULL), AEGIS_OK);
    assert_int_equal(aegis_transformer_synthesize(blocked, "gpt2-tiny", "f32", 1, &error),
                     AEGIS_ERROR_IO);
    assert_string_equal(aegis_transformer_shape_at(0), "gpt2-small");
    assert_null(aegis_transformer_shape_at(100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_are_read_and_checked),
        cmocka_unit_test(the_presets_of_the_project_are_good),
        cmocka_unit_test(made_up_models_are_refused_by_name),
    };
    return cmocka_run_group_tests_name("transformer presets", tests, set_up, tear_down);
}
