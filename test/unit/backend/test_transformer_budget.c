/* SPDX-License-Identifier: Apache-2.0 */
/* Where the budget comes from, the least that would do, and what the process holds against it. */
#include "engine_fixture.h"

/* The pieces of a plan are all rows of all units, each once and in order. */
static void every_row_has_its_place(const aegis_transformer_planned *planned,
                                    const aegis_transformer_info *info)
{
    const aegis_partition *partition = aegis_transformer_planned_partition(planned);
    uint32_t count, piece = 0;
    const aegis_partition_unit *units = aegis_transformer_planned_units(planned, &count);
    uint64_t model_bytes = 0;
    assert_string_equal(partition->strategy, info->strategy);
    for (uint32_t u = 0; u < count; u++) {
        uint32_t row = 0;
        for (; piece < partition->piece_count && partition->pieces[piece].unit == u; piece++) {
            assert_int_equal(partition->pieces[piece].first, row);
            row += partition->pieces[piece].count;
        }
        assert_int_equal(row, units[u].rows);
        model_bytes += units[u].rows * units[u].row_bytes;
    }
    assert_int_equal(piece, partition->piece_count);
    assert_int_equal(partition->model_bytes, model_bytes);
    assert_int_equal(partition->streamed_bytes, info->streamed_bytes);
}

static void the_least_budget_is_the_least(void **state)
{
    (void)state;
    aegis_transformer_config config = config_of("llama-tiny", "f16");
    aegis_transformer_planned *planned = plan(&config);
    aegis_transformer_info info;
    aegis_partition *found = NULL;
    aegis_error error = {0};
    aegis_transformer_planned_info(planned, &info);
    assert_true(info.memory.planned <= info.memory.budget);
    assert_true(info.memory.process > 0 && info.memory.least > info.memory.process);
    must(aegis_transformer_planned_try(planned, "auto", info.memory.least, &found, &error), &error);
    aegis_partition_free(found);
    assert_int_equal(
        aegis_transformer_planned_try(planned, "auto", info.memory.least - 8192, &found, &error),
        AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_int_equal(
        aegis_transformer_planned_try(planned, "none", info.memory.least, &found, &error),
        AEGIS_ERROR_NOT_FOUND);
    must(aegis_transformer_planned_measure(planned, &error), &error);
    aegis_transformer_planned_info(planned, &info);
    assert_true(info.disk_rate > 0 && info.memory_rate > 0);
    assert_int_equal(aegis_transformer_planned_layers(planned), 6);
    aegis_transformer_layer layer;
    aegis_transformer_planned_layer(planned, 5, &layer);
    assert_string_equal(layer.kind, "head");
    assert_true(layer.tied);
    every_row_has_its_place(planned, &info);
    aegis_transformer_planned_destroy(planned);
}

static void write_file(const char *path, const char *text)
{
    char whole[512], parent[512];
    snprintf(whole, sizeof whole, "%s/root/%s", folder, path);
    snprintf(parent, sizeof parent, "%s", whole);
    *strrchr(parent, '/') = '\0';
    assert_int_equal(aegis_folder_create(parent, NULL), AEGIS_OK);
    assert_int_equal(aegis_file_write_atomic(whole, text, strlen(text), NULL), AEGIS_OK);
}

static aegis_transformer_memory budget_found(void)
{
    char root[512];
    snprintf(root, sizeof root, "%s/root", folder);
    aegis_transformer_config config = config_of("gpt2-tiny", "f16");
    config.budget_bytes = 0;
    config.system_root = root;
    aegis_transformer_planned *planned = plan(&config);
    aegis_transformer_info info;
    aegis_transformer_planned_info(planned, &info);
    aegis_transformer_planned_destroy(planned);
    return info.memory;
}

static void control_groups_of_both_versions_set_the_budget(void **state)
{
    (void)state;
    write_file("proc/meminfo",
               "MemTotal: 8000000 kB\nMemFree: 7000000 kB\nMemAvailable: 7500000 kB\n");
    write_file("proc/cpuinfo", "processor\t: 0\nmodel name\t: x\n\n");
    write_file("proc/self/status", "VmHWM:\t  9000 kB\nVmRSS:\t  8192 kB\nCpus_allowed_list:\t0\n");
    aegis_transformer_memory memory = budget_found();
    assert_int_equal(memory.source, AEGIS_BUDGET_MACHINE);
    assert_int_equal(memory.process, 8192 * 1024);
    write_file("proc/self/cgroup", "0::/box\n");
    write_file("proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    write_file("sys/fs/cgroup/box/memory.max", "268435456\n");
    write_file("sys/fs/cgroup/box/memory.current", "8388608\n");
    memory = budget_found();
    assert_int_equal(memory.source, AEGIS_BUDGET_CONTROL_GROUP);
    assert_int_equal(memory.budget,
                     268435456); /* what is left and what the process holds already */
    write_file("sys/fs/cgroup/box/memory.current", "1048576\n"); /* less than is resident */
    memory = budget_found();
    assert_int_equal(memory.budget, 268435456);
    write_file("proc/self/cgroup", "4:memory:/box\n");
    write_file("proc/self/mountinfo",
               "30 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    write_file("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "134217728\n");
    write_file("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "8388608\n");
    memory = budget_found();
    assert_int_equal(memory.source, AEGIS_BUDGET_CONTROL_GROUP);
    assert_int_equal(memory.budget, 134217728);
    assert_string_equal(aegis_budget_source_name(memory.source), "control group");
}

/* The kernel's word on what the process holds, for the engine to read. */
static void write_held(uint64_t resident_mib, uint64_t peak_mib)
{
    char text[128];
    snprintf(text, sizeof text, "VmHWM:\t%8llu kB\nVmRSS:\t%8llu kB\nCpus_allowed_list:\t0\n",
             (unsigned long long)peak_mib << 10, (unsigned long long)resident_mib << 10);
    write_file("proc/self/status", text);
}

static void what_the_process_holds_is_held_against_the_budget(void **state)
{
    (void)state;
    char root[512];
    snprintf(root, sizeof root, "%s/root", folder);
    aegis_transformer_config config = config_of("gpt2-tiny", "f16");
    config.budget_bytes = UINT64_C(64) << 20;
    config.system_root = root;
    write_held(8, 80); /* an earlier peak is not this engine's */
    aegis_transformer_planned *planned = plan(&config);
    aegis_transformer_ready *ready = NULL;
    aegis_transformer_info info;
    aegis_error error = {0};
    write_held(70, 80); /* something else took memory meanwhile */
    assert_int_equal(aegis_transformer_prepare(&planned, &ready, &error),
                     AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_non_null(strstr(error.message, "its budget is 64"));
    write_held(10, 90); /* or took it and gave it back */
    assert_int_equal(aegis_transformer_prepare(&planned, &ready, &error),
                     AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_non_null(planned);
    assert_null(ready);
    write_held(64, 80); /* keys and values still to come */
    assert_int_equal(aegis_transformer_prepare(&planned, &ready, &error),
                     AEGIS_ERROR_BUDGET_EXCEEDED);
    write_held(12, 80);
    must(aegis_transformer_prepare(&planned, &ready, &error), &error);
    aegis_transformer_ready_info(ready, &info);
    assert_int_equal(info.memory.loaded, 12 << 20);
    write_held(20, 81);
    const aegis_generation_request request = request_of(prompt, AEGIS_ARRAY_LENGTH(prompt));
    aegis_generation made = {0};
    aegis_generation_figures figures = {0};
    must(aegis_transformer_generate(ready, &request, 1, NULL, NULL, &made, &figures, &error),
         &error);
    assert_int_equal(figures.held_bytes, 81 << 20); /* past the budget, and it says so */
    aegis_generation_finish(ready, &made);
    aegis_transformer_ready_destroy(ready);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_budget_is_the_least),
        cmocka_unit_test(control_groups_of_both_versions_set_the_budget),
        cmocka_unit_test(what_the_process_holds_is_held_against_the_budget),
    };
    return cmocka_run_group_tests_name("transformer budget", tests, set_up, tear_down);
}
