/* SPDX-License-Identifier: Apache-2.0 */
/* Replays of recorded steps: identical ones, damaged ones, and what a replay cannot do without. */
#include "core_fixture.h"

#include <support/test_allocator.h>

#include <aegisrt/ext/clock_ops.h>
#include <aegisrt/replay.h>

#include <stdlib.h>
#include <unistd.h>

#define AT_CORE 0

static fixture f;
static aegis_trace_record records[FIXTURE_RECORDS];

static aegis_policy policy_of(const char *name)
{
    aegis_policy policy;
    assert_int_equal(aegis_policy_find(name, &policy, NULL), AEGIS_OK);
    return policy;
}

/* One of everything: limits of all kinds, faults, overruns, removal, stop. Returns the number of
 * records. */
static size_t record_run(void)
{
    aegis_policy policy = policy_of("np-edf");
    begin_with(
        &f, &policy,
        &(aegis_core_config){
            .lanes = 2, .max_models = 8, .max_jobs = 16, .wake_bound_ns = 7, .launch_bound_ns = 1});
    f.records = records;
    records[AT_CORE] = aegis_core_config_to_record(&f.config, 0);
    f.record_count = 1;
    aegis_core_model a = cut(0, 100, 2, 10), b = plain(1, 50, 5), c = background(2, 3000000000, 5);
    a.compute_budget_ns = 18;
    a.jitter_ns = 2;
    b.priority = -5;
    b.early = AEGIS_EARLY_DELAY;
    b.overrun = AEGIS_OVERRUN_SKIP;
    c.lane = 1;
    c.share_ppm = 400000;
    add(&f, &a);
    add(&f, &b);
    add(&f, &c);
    submit_more(&f, 0, 0, 1, 0);
    submit_more(&f, 0, 1, 2, 0);
    submit(&f, 0, 2, 3, 0);
    done_with(&f, 4, 1, AEGIS_ERROR_INFERENCE);
    submit(&f, 5, 2, 4, 5);
    timer(&f, 7);
    done(&f, 9);
    step(&f, 9, &(aegis_core_event){.kind = AEGIS_CORE_CLEAR_FAULT, .model = 2});
    submit(&f, 10, 1, 5, 10);
    done(&f, 18);
    done(&f, 28);
    timer(&f, 50);
    submit(&f, 60, 2, 6, 60);
    step(&f, 61, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE, .model = 2});
    done_with(&f, 66, 1, AEGIS_OK);
    submit(&f, 110, 0, 7, 101);
    submit(&f, 111, 1, 8, 111);
    step(&f, 112, &(aegis_core_event){.kind = AEGIS_CORE_STOP});
    done(&f, 118);
    end(&f);
    return f.record_count;
}

static aegis_status
replay(size_t count, bool complete, const char *policy_name, aegis_replay_result *ret_result)
{
    aegis_policy policy = policy_of(policy_name);
    aegis_allocator allocator = aegis_allocator_default();
    return aegis_replay_verify_records(records, count, complete, &policy, &allocator, ret_result,
                                       NULL);
}

static bool is_decision(const aegis_trace_record *record)
{
    return record->kind >= AEGIS_TRACE_DISPATCH && record->kind <= AEGIS_TRACE_COPY_IN;
}

static void a_run_replays_bit_for_bit(void **state)
{
    (void)state;
    aegis_replay_result result;
    size_t count = record_run(), decisions = 0;
    for (size_t i = 0; i < count; i++) {
        decisions += is_decision(&records[i]);
    }
    assert_int_equal(replay(count, true, "np-edf", &result), AEGIS_OK);
    assert_true(decisions > 25);
    assert_int_equal(result.decisions, decisions);
    assert_int_equal(result.identical, decisions);
    assert_false(result.first_difference.found);
}

static void other_records_are_passed_over(void **state)
{
    (void)state;
    aegis_replay_result result;
    size_t count = record_run();
    memmove(&records[1], &records[0], count * sizeof *records);
    records[0] = (aegis_trace_record){.kind = AEGIS_TRACE_MARK};
    memmove(&records[count - 1], &records[count - 2], 3 * sizeof *records);
    records[count - 2] = (aegis_trace_record){.kind = AEGIS_TRACE_FAULT};
    assert_int_equal(replay(count + 2, true, "np-edf", &result), AEGIS_OK);
    assert_int_equal(result.identical, result.decisions);
}

/* Each operand of each decision, changed alone, is the one difference. */
static void every_changed_operand_is_found(void **state)
{
    (void)state;
    size_t count = record_run();
    uint64_t index = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_decision(&records[i])) {
            continue;
        }
        for (int field = 0; field < 9; field++) {
            const aegis_trace_record original = records[i];
            aegis_trace_record *r = &records[i];
            int64_t *operands[] = {&r->a, &r->b, &r->c, &r->d};
            if (field < 4) {
                *operands[field] ^= 1;
            } else if (field == 4) {
                r->job ^= 1;
            } else if (field == 5) {
                r->model ^= 1;
            } else if (field == 6) {
                r->lane ^= 1;
            } else if (field == 7) {
                r->rationale ^= 1;
            } else {
                r->time_ns ^= UINT64_C(1) << 40;
            }
            aegis_replay_result result;
            assert_int_equal(replay(count, true, "np-edf", &result), AEGIS_OK);
            assert_true(result.first_difference.found);
            assert_int_equal(result.first_difference.index, index);
            assert_int_equal(result.identical, result.decisions - 1);
            assert_memory_equal(&result.first_difference.recorded, r, sizeof *r);
            assert_int_equal(result.first_difference.derived.kind, original.kind);
            assert_int_equal(result.first_difference.derived.a, original.a);
            records[i] = original;
        }
        index++;
    }
}

static size_t find_kind(size_t count, aegis_trace_kind kind)
{
    for (size_t i = 0; i < count; i++) {
        if (records[i].kind == kind) {
            return i;
        }
    }
    fail_msg("no record of kind %d", (int)kind);
    return 0;
}

static void missing_and_invented_decisions_are_found(void **state)
{
    (void)state;
    aegis_replay_result result;
    size_t count = record_run();
    size_t at = find_kind(count, AEGIS_TRACE_LANE_WHOLE);
    memmove(&records[at], &records[at + 1], (count - at - 1) * sizeof *records);
    assert_int_equal(replay(count - 1, true, "np-edf", &result), AEGIS_OK);
    assert_true(result.first_difference.found);
    assert_int_equal(result.first_difference.derived.kind, AEGIS_TRACE_LANE_WHOLE);

    count = record_run();
    records[count] = (aegis_trace_record){.kind = AEGIS_TRACE_SKIP};
    assert_int_equal(replay(count + 1, true, "np-edf", &result), AEGIS_OK);
    assert_int_equal(result.first_difference.index, result.decisions - 1);
    assert_int_equal(result.first_difference.recorded.kind, AEGIS_TRACE_SKIP);
    assert_int_equal(result.first_difference.derived.kind, AEGIS_TRACE_INVALID);
}

static void another_policy_differs_and_is_followed_as_far_as_it_goes(void **state)
{
    (void)state;
    aegis_replay_result result;
    size_t count = record_run();
    assert_int_equal(replay(count, true, "np-fp", &result), AEGIS_OK);
    assert_true(result.first_difference.found);
    assert_int_equal(result.first_difference.recorded.kind, AEGIS_TRACE_DISPATCH);
    assert_int_equal(result.first_difference.derived.kind, AEGIS_TRACE_DISPATCH);
    assert_true(result.identical < result.decisions);
}

static void a_cut_trace_is_compared_to_its_end(void **state)
{
    (void)state;
    size_t count = record_run();
    for (size_t cut_at = 1; cut_at <= count; cut_at++) {
        aegis_replay_result result;
        assert_int_equal(replay(cut_at, false, "np-edf", &result), AEGIS_OK);
        assert_int_equal(result.identical, result.decisions);
        assert_false(result.first_difference.found);
    }
    /* a complete trace may not end so */
    size_t at = find_kind(count, AEGIS_TRACE_DISPATCH);
    aegis_replay_result result;
    assert_int_equal(replay(at, true, "np-edf", &result), AEGIS_OK);
    assert_true(result.first_difference.found);
    assert_int_equal(result.first_difference.recorded.kind, AEGIS_TRACE_INVALID);
}

/* ---- what cannot be replayed ---- */

static void refuse(size_t count, const char *word)
{
    aegis_policy policy = policy_of("np-edf");
    aegis_allocator allocator = aegis_allocator_default();
    aegis_replay_result result = {.decisions = 4711};
    aegis_error err = {0};
    assert_int_equal(
        aegis_replay_verify_records(records, count, true, &policy, &allocator, &result, &err),
        AEGIS_ERROR_PARSE);
    if (strstr(err.message, word) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.message, word);
    }
    assert_int_equal(result.decisions, 4711);
}

static void a_trace_without_a_core_is_refused(void **state)
{
    (void)state;
    size_t count = record_run();
    refuse(0, "no core record");
    records[AT_CORE].kind = AEGIS_TRACE_MARK;
    refuse(count, "no core record");
    records[AT_CORE].kind = AEGIS_TRACE_EVENT_CORE;
    records[AT_CORE].a = 65;
    refuse(count, "out of range");
    records[AT_CORE].a = 0;
    refuse(count, "no core can be made");
    records[AT_CORE].a = 2;
    records[AT_CORE].c = -1;
    refuse(count, "out of range");
    records[AT_CORE].c = 16;
    records[count] = records[AT_CORE];
    refuse(count + 1, "second core record");
}

static void damaged_events_are_refused(void **state)
{
    (void)state;
    size_t count = record_run();
    size_t at = find_kind(count, AEGIS_TRACE_EVENT_MODEL_SEGMENT);
    records[at].a = 64;
    refuse(count, "does not belong to the limits");
    records[at].a = 0;
    records[at].model = 5;
    refuse(count, "does not belong to the limits");
    records[at].model = 0;
    at = find_kind(count, AEGIS_TRACE_EVENT_MODEL_ADD);
    records[at].c = 65;
    refuse(count, "does not belong to the limits");
    records[at].c = 1;
    records[at].a = 0;
    refuse(count, "period_ns 0");

    count = record_run();
    at = find_kind(count, AEGIS_TRACE_EVENT_SEGMENT_DONE);
    records[at].job = 99;
    refuse(count, "job 99");
    count = record_run();
    at = find_kind(count, AEGIS_TRACE_EVENT_TIMER);
    records[at].time_ns = 0;
    refuse(count, "never goes back");
}

static void each_failing_allocation_is_survived(void **state)
{
    (void)state;
    size_t count = record_run();
    aegis_policy policy = policy_of("np-edf");
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    for (uint64_t n = 1; status != AEGIS_OK && n < 100; n++) {
        test_allocator counting = {0};
        aegis_allocator allocator = test_allocator_make(&counting);
        aegis_replay_result result;
        counting.fail_at = n;
        status =
            aegis_replay_verify_records(records, count, true, &policy, &allocator, &result, NULL);
        assert_true(status == AEGIS_OK || status == AEGIS_ERROR_NO_MEMORY);
        assert_int_equal(counting.blocks, 0);
        assert_int_equal(counting.wrong_sizes, 0);
    }
    assert_int_equal(status, AEGIS_OK);
}

/* ---- files ---- */

/* A ring puts its clock's time into records that have none: instant 0 must stay 0. */
static uint64_t read_zero(void *self)
{
    (void)self;
    return 0;
}

/* Writes the records by a collector whose orchestration ring holds `ring_records`. */
static aegis_trace_file *
write_file(const char *header, size_t count, bool core, size_t ring_records)
{
    char path[] = "/tmp/aegisrt-replay-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    aegis_allocator allocator = aegis_allocator_default();
    static const aegis_clock_ops ops = {
        .version = AEGIS_CLOCK_OPS_VERSION, .name = "zero", .now_ns = read_zero};
    aegis_clock clock = {.ops = &ops};
    const aegis_trace_config config = {.path = path,
                                       .header_json = header,
                                       .ring_records = ring_records,
                                       .drain_interval_ns = UINT64_C(60000000000)};
    aegis_trace_collector *collector = NULL;
    aegis_trace_ring *lane = NULL, *ring = NULL;
    assert_int_equal(aegis_trace_collector_create(&config, &clock, &allocator, &collector, NULL),
                     AEGIS_OK);
    assert_int_equal(aegis_trace_ring_create(collector, "lane0", &lane, NULL), AEGIS_OK);
    assert_int_equal(aegis_trace_ring_create(collector, "orchestrator", &ring, NULL), AEGIS_OK);
    for (size_t i = core ? 0 : 1; i < count; i++) {
        aegis_trace_record_write(ring, &records[i]);
        aegis_trace_record_write(lane, &(aegis_trace_record){.kind = AEGIS_TRACE_EXECUTE});
    }
    assert_int_equal(aegis_trace_collector_finish(collector, NULL), AEGIS_OK);
    aegis_trace_collector_destroy(collector);
    aegis_trace_file *file = NULL;
    assert_int_equal(aegis_trace_file_open(path, &allocator, &file, NULL), AEGIS_OK);
    unlink(path);
    return file;
}

static void refuse_file(
    const char *header, bool core, size_t ring_records, aegis_status status, const char *word)
{
    size_t count = record_run();
    aegis_allocator allocator = aegis_allocator_default();
    aegis_trace_file *file = write_file(header, count, core, ring_records);
    aegis_replay_result result;
    aegis_error err = {0};
    assert_int_equal(aegis_replay_verify(file, NULL, &allocator, &result, &err), status);
    if (strstr(err.message, word) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.message, word);
    }
    aegis_trace_file_close(file);
}

static void files_lacking_something_are_refused(void **state)
{
    (void)state;
    refuse_file("{}", true, 0, AEGIS_ERROR_NOT_FOUND, "names no policy");
    refuse_file("{\"policy\":\"lottery\"}", true, 0, AEGIS_ERROR_NOT_FOUND, "lottery");
    refuse_file("{\"policy\":\"np-edf\"}", false, 0, AEGIS_ERROR_PARSE, "core record");
    refuse_file("{\"policy\":\"np-edf\"}", true, 16, AEGIS_ERROR_PARSE, "dropped");
}

static void parts_of_a_replay_are_refused_alike(void **state)
{
    (void)state;
    const size_t count = record_run();
    const aegis_trace_record *found = NULL;
    aegis_policy policy = {0};
    aegis_error err = {0};
    size_t found_count = 77;
    aegis_trace_file *file = write_file("{\"policy\":\"lottery\"}", count, false, 0);
    assert_int_equal(aegis_replay_policy(file, &policy, &err), AEGIS_ERROR_NOT_FOUND);
    assert_non_null(strstr(err.message, "lottery"));
    assert_null(policy.ops);
    assert_int_equal(aegis_replay_records(file, &found, &found_count, &err), AEGIS_ERROR_PARSE);
    assert_non_null(strstr(err.message, "has a core record"));
    assert_true(found == NULL && found_count == 77);
    aegis_trace_file_close(file);
}

static void a_file_needs_memory_to_be_replayed(void **state)
{
    (void)state;
    const size_t count = record_run();
    aegis_trace_file *file = write_file("{\"policy\":\"np-edf\"}", count, true, 0);
    test_allocator counting = {.fail_at = 1};
    aegis_allocator allocator = test_allocator_make(&counting);
    aegis_replay_result result = {.decisions = 77};
    aegis_error err = {0};
    assert_int_equal(aegis_replay_verify(file, NULL, &allocator, &result, &err),
                     AEGIS_ERROR_NO_MEMORY);
    assert_int_equal(err.status, AEGIS_ERROR_NO_MEMORY);
    assert_int_equal(result.decisions, 77);
    assert_int_equal(aegis_replay_verify(file, NULL, &allocator, &result, &err), AEGIS_OK);
    assert_int_equal(counting.blocks, 0);
    aegis_trace_file_close(file);
}

static void files_replay_by_the_ring_of_the_core(void **state)
{
    (void)state;
    size_t count = record_run();
    aegis_allocator allocator = aegis_allocator_default();
    static const char *const headers[] = {"{\"policy\":\"np-edf\"}",
                                          "{\"schedule\":{\"policy\":\"np-edf\"}}"};
    for (size_t i = 0; i < 2; i++) {
        aegis_trace_file *file = write_file(headers[i], count, true, 0);
        aegis_replay_result result;
        assert_int_equal(aegis_replay_verify(file, NULL, &allocator, &result, NULL), AEGIS_OK);
        assert_int_equal(result.identical, result.decisions);
        aegis_trace_file_close(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_replays_bit_for_bit),
        cmocka_unit_test(other_records_are_passed_over),
        cmocka_unit_test(every_changed_operand_is_found),
        cmocka_unit_test(missing_and_invented_decisions_are_found),
        cmocka_unit_test(another_policy_differs_and_is_followed_as_far_as_it_goes),
        cmocka_unit_test(a_cut_trace_is_compared_to_its_end),
        cmocka_unit_test(a_trace_without_a_core_is_refused),
        cmocka_unit_test(damaged_events_are_refused),
        cmocka_unit_test(each_failing_allocation_is_survived),
        cmocka_unit_test(files_lacking_something_are_refused),
        cmocka_unit_test(parts_of_a_replay_are_refused_alike),
        cmocka_unit_test(a_file_needs_memory_to_be_replayed),
        cmocka_unit_test(files_replay_by_the_ring_of_the_core),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
