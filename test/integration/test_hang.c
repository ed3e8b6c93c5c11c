/* SPDX-License-Identifier: Apache-2.0 */
/* A segment that does not end, on the host: the run fails with a report and nothing waits for it.
 * What the lane may still touch is left behind, so the program ends without cleaning up. */
#include "planted.h"

#include <unistd.h>

static const char hanging[] =
    "{\"inputs\": [{\"name\": \"x\", \"dtype\": \"f32\", \"shape\": [1, 16]}],"
    " \"outputs\": [{\"name\": \"y\", \"dtype\": \"f32\", \"shape\": [1, 4]}],"
    " \"weights_bytes\": 256, \"segments\": [[{\"alloc\": 1024}, {\"spin\": \"50us\"}, {\"free\": "
    "0}]], \"faults\": [{\"run\": 2, \"segment\": 0, \"kind\": \"hang\"}]}";

static char folder[64];

static uint64_t now_ns(void)
{
    aegis_clock clock = aegis_clock_monotonic();
    return aegis_clock_now_ns(&clock);
}

static void hang_is_found_reported_and_not_waited_for(void **state)
{
    (void)state;
    static running r;
    char path[128], toml[1024];
    aegis_error err = {0}, fault = {0};
    snprintf(folder, sizeof folder, "/tmp/aegis-hang-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/hanging.null", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(hanging, file);
    fclose(file);
    setenv("AEGISRT_CACHE_DIR", folder, 1);
    snprintf(toml, sizeof toml,
             "[device]\nkind = \"host\"\nmemory = \"8MiB\"\nspill = \"64KiB\"\n"
             "[schedule]\npolicy = \"np-edf\"\nqueue_depth = 4\nhang = \"300ms\"\n"
             "[[model]]\nname = \"hanging\"\npath = \"%s\"\nbackend = \"null\"\n"
             "period = \"100ms\"\nconfidence = 0.9\noverrun = \"report\"\n",
             path);
    prepare_planted(&r, toml, (aegis_system_options){0}, 5 * UINT64_C(1000000));
    check(aegis_system_start(r.system, &err), &err);
    aegis_scheduler *scheduler = aegis_system_scheduler(r.system);
    uint64_t begin = now_ns();
    while (aegis_scheduler_check(scheduler, &err) == AEGIS_OK &&
           now_ns() - begin < UINT64_C(8000000000)) {
        let_run(0.01);
    }
    assert_int_equal(err.status, AEGIS_ERROR_DEVICE_LOST);
    assert_int_equal(err.category, AEGIS_CATEGORY_FATAL);
    assert_non_null(strstr(err.message, "lane 0: model 'hanging'"));
    assert_true(aegis_context_last_error(aegis_system_context(r.system, 0), &fault));
    assert_int_equal(fault.status, AEGIS_ERROR_DEVICE_LOST);
    /* The run before was sound. */
    const aegis_core_counters counters = metrics_of(&r, 0).counters;
    assert_int_equal(counters.completed + counters.missed, 1);
    assert_int_equal(aegis_scheduler_evict(scheduler, 0, NULL), AEGIS_ERROR_DEVICE_LOST);
    assert_int_equal(aegis_system_stop(r.system, &err), AEGIS_ERROR_DEVICE_LOST);
    assert_true(aegis_scheduler_hangs(scheduler));
    aegis_system_destroy(r.system);
    /* The null runtime spins for 10 s: nothing waited for it. */
    assert_true(now_ns() - begin < UINT64_C(9000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hang_is_found_reported_and_not_waited_for),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0) {
        failed++;
    }
    fflush(NULL);
    _exit(failed == 0 ? 0 : 1);
}
