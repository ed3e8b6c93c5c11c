/* SPDX-License-Identifier: Apache-2.0 */
#include "trace_test.h"

#include "base/base.h"
#include "trace/timeline.h"

#include <jansson.h>

static test_clock now = {.now_ns = 5};

/* The sample, from a collector's memory. */
static aegis_trace_file *sample(const aegis_allocator *allocator)
{
    aegis_clock clock = test_clock_of(&now);
    aegis_trace_collector *collector = test_collect(NULL, 1000, &clock, allocator);
    aegis_trace_file *file;
    assert_int_equal(aegis_trace_collector_finish(collector, NULL), AEGIS_OK);
    assert_int_equal(aegis_trace_collector_snapshot(collector, &file, NULL), AEGIS_OK);
    assert_true(aegis_trace_file_complete(file));
    aegis_trace_collector_destroy(collector);
    return file;
}

static const char *describe(const aegis_trace_file *file, const aegis_trace_record *record)
{
    static char text[AEGIS_TRACE_SENTENCE_BYTES];
    return aegis_trace_file_describe(file, record, text, sizeof text);
}

static void sentences_say_what_was_compared(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_trace_file *file = sample(&allocator);
    aegis_trace_record dispatch = {.time_ns = 1234567000,
                                   .kind = AEGIS_TRACE_DISPATCH,
                                   .rationale = AEGIS_WHY_SMALLER_KEY,
                                   .model = 0,
                                   .job = 12,
                                   .lane = 0,
                                   .b = 1400000000,
                                   .c = 1432000000,
                                   .d = 1};
    assert_string_equal(describe(file, &dispatch),
                        "text-detector job 12 dispatched on lane 0 at 1.234567 s because its key "
                        "1400000000 was smaller than vad's 1432000000");
    dispatch.rationale = AEGIS_WHY_ONLY_READY;
    dispatch.a = 2;
    assert_string_equal(
        describe(file, &dispatch),
        "text-detector job 12 segment 2 dispatched on lane 0 at 1.234567 s because no "
        "other job was ready on this lane");
    static const struct {
        aegis_trace_record record;
        const char *text;
    } cases[] = {
        {{.kind = AEGIS_TRACE_MISS,
          .rationale = AEGIS_WHY_UNEXCUSED,
          .model = 7,
          .job = 3,
          .lane = 1,
          .a = MS(10),
          .b = MS(20),
          .c = MS(21),
          .d = MS(11)},
         "model-7 job 3 missed its deadline 20 ms on lane 1: it finished at 21 ms, 11.0 "
         "ms "
         "after its release at 10 ms; every bound held and yet it was late"},
        {{.time_ns = 1,
          .kind = AEGIS_TRACE_REFUSED,
          .rationale = AEGIS_WHY_RESPONSE,
          .model = 0,
          NO_LANE,
          .a = MS(30),
          .b = MS(20),
          .c = 1},
         "text-detector refused at 1 ns because vad would respond in 30.0 ms and its "
         "deadline is "
         "20.0 ms"},
        {{.time_ns = MS(7),
          .kind = AEGIS_TRACE_OVERRUN,
          .rationale = AEGIS_WHY_EXCUSED_WAKE,
          .model = 1,
          .job = 4,
          .lane = 0,
          .a = 50000,
          .b = MS(2)},
         "vad job 4 was seen 2.00 ms after its release, and the proofs count at most 50.0 us: they "
         "are void on lane 0 from 7 ms until it is idle"},
        {{.time_ns = MS(7),
          .kind = AEGIS_TRACE_OVERRUN,
          .rationale = AEGIS_WHY_EXCUSED_OVERRUN,
          .model = 1,
          .job = 4,
          .lane = 0,
          .a = MS(1),
          .b = MS(2),
          .c = 3},
         "vad job 4 segment 3 held its lane for 2.00 ms by 7 ms, and the proofs count at most 1.00 "
         "ms: they are void on lane 0 until it is idle"},
        {{.kind = AEGIS_TRACE_REFUSED, .rationale = AEGIS_WHY_NO_PROOF, .model = 1, NO_LANE},
         "vad refused at 0 ns because no proof exists for this combination"},
        {{.kind = AEGIS_TRACE_ADMISSION_STEP,
          .model = 1,
          NO_LANE,
          .a = 3,
          .b = AEGIS_OK,
          .c = MS(2)},
         "admission of vad, step 3 (profile), ended at 0 ns after 2.00 ms, status ok"},
        {{.kind = AEGIS_TRACE_ADMITTED, .model = 1, .lane = 0, .a = MS(2), .b = MS(4), .c = 123400},
         "vad admitted on lane 0 at 0 ns: bound 2.00 ms, worst response 4.00 ms, utilisation "
         "12.34 %"},
        {{.kind = AEGIS_TRACE_COUNTER,
          NO_MODEL,
          NO_LANE,
          .a = AEGIS_COUNTER_TEMPERATURE_MILLIDEGREES,
          .b = 45125},
         "temperature was 45.1 degrees Celsius at 0 ns"},
        {{.kind = AEGIS_TRACE_COUNTER,
          .model = 1,
          NO_LANE,
          .a = AEGIS_COUNTER_MEMORY_BYTES,
          .b = 2048},
         "memory of vad was 2.00 KiB at 0 ns"},
        {{.kind = AEGIS_TRACE_SPILL, .model = 1, .job = 4, NO_LANE, .a = 9, .b = 1024, .c = -1},
         "vad job 4 departed from its plan at 0 ns: allocation 9 of 1.00 KiB where none was "
         "recorded"},
        {{.kind = AEGIS_TRACE_FAULT,
          .model = 1,
          NO_LANE,
          .a = AEGIS_ERROR_INFERENCE,
          .b = AEGIS_CATEGORY_PERMANENT,
          .c = -5},
         "vad failed at 0 ns with status inference (permanent, native code -5)"},
        {{.kind = AEGIS_TRACE_ARM_TIMER, NO_MODEL, NO_LANE, .a = -1500000},
         "a timer armed at 0 ns for -1.500 ms"},
        {{.kind = AEGIS_TRACE_EVENT_SUBMIT, .model = 1, .job = 4, NO_LANE, .a = 5},
         "vad job 4 submitted at 0 ns: released at 5 ns, due as admitted, priority 0"},
        {{.kind = AEGIS_TRACE_EVENT_SUBMIT, .model = 1, .job = 4, NO_LANE, .a = 5, .b = INT64_MAX},
         "vad job 4 submitted at 0 ns: released at 5 ns, due at no instant, priority 0"},
        {{.kind = AEGIS_TRACE_EVENT_SUBMIT, .model = 1, .job = 4, NO_LANE, .a = 5, .b = MS(2)},
         "vad job 4 submitted at 0 ns: released at 5 ns, due at 2 ms, priority 0"},
        {{.kind = AEGIS_TRACE_MARK, NO_MODEL, NO_LANE, .a = 1}, "the run stopped at 0 ns"},
        {{.kind = 999, NO_MODEL, NO_LANE, .time_ns = 2000}, "a record of unknown kind 999 at 2 us"},
    };
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(cases); i++) {
        assert_string_equal(describe(file, &cases[i].record), cases[i].text);
    }
    aegis_trace_file_close(file);
}

static void instants_lose_nothing(void **state)
{
    (void)state;
    static const struct {
        uint64_t ns;
        const char *text;
    } cases[] = {{0, "0 ns"},
                 {999, "999 ns"},
                 {1000, "1 us"},
                 {1001, "1.001 us"},
                 {20000000, "20 ms"},
                 {20500000, "20.500 ms"},
                 {20000001, "20.000001 ms"},
                 {UINT64_C(3000000000), "3 s"},
                 {UINT64_C(1234567890), "1.234567890 s"},
                 {UINT64_C(1234500000), "1.234500 s"},
                 {UINT64_MAX, "18446744073.709551615 s"}};
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(cases); i++) {
        char text[32];
        assert_string_equal(aegis_trace_format_instant(cases[i].ns, text, sizeof text),
                            cases[i].text);
    }
}

static void short_buffers_cut_at_whole_characters(void **state)
{
    (void)state;
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_clock clock = test_clock_of(&now);
    aegis_trace_config config = {
        .ring_records = 2,
        .memory_records = 2,
        .header_json = "{\"models\":[{\"name\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"}]}"};
    aegis_trace_collector *collector;
    aegis_trace_file *file;
    assert_int_equal(aegis_trace_collector_create(&config, &clock, &allocator, &collector, NULL),
                     AEGIS_OK);
    assert_int_equal(aegis_trace_collector_snapshot(collector, &file, NULL), AEGIS_OK);
    aegis_trace_record record = {.kind = AEGIS_TRACE_EVENT_MODEL_REMOVE, .model = 0};
    static const size_t kept[] = {0, 0, 0, 2, 2, 2, 5, 5, 5, 5, 9, 10, 11};
    for (size_t size = 0; size < AEGIS_ARRAY_LENGTH(kept); size++) {
        char *buffer = malloc(size + 1); /* exact, for the sanitizer */
        buffer[size] = 'x';
        assert_ptr_equal(aegis_trace_file_describe(file, &record, buffer, size), buffer);
        assert_int_equal(buffer[size], 'x');
        assert_int_equal(size == 0 ? 0 : strlen(buffer), kept[size]);
        free(buffer);
    }
    aegis_trace_file_close(file);
    aegis_trace_collector_destroy(collector);
    assert_nothing_leaked(&heap);
}

static json_t *next_line(const char **at)
{
    const char *end = strchr(*at, '\n');
    assert_non_null(end);
    json_error_t problem;
    json_t *line = json_loadb(*at, (size_t)(end - *at), JSON_REJECT_DUPLICATES, &problem);
    if (line == NULL) {
        fail_msg("%s in %.*s", problem.text, (int)(end - *at), *at);
    }
    *at = end + 1;
    return line;
}

static void check_text(const json_t *line, const char *key, const char *expected)
{
    const char *text = json_string_value(json_object_get(line, key));
    assert_non_null(text);
    assert_string_equal(text, expected);
}

static void check_number(const json_t *line, const char *key, int64_t expected)
{
    assert_true(json_is_integer(json_object_get(line, key)));
    assert_int_equal(json_integer_value(json_object_get(line, key)), expected);
}

static void json_lines_name_everything(void **state)
{
    (void)state;
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_clock clock = test_clock_of(&now);
    char path[512];
    test_path("jsonl", path, sizeof path);
    aegis_trace_collector *collector = test_collect(NULL, 1000, &clock, &allocator);
    assert_int_equal(aegis_trace_collector_export_json(collector, path, NULL), AEGIS_OK);
    aegis_trace_collector_destroy(collector);
    size_t size, lines = 0, seen = 0;
    char *text = (char *)test_read_file(path, &size);
    for (const char *at = text; *at != '\0'; lines++) {
        json_t *line = next_line(&at);
        check_number(line, "schema_version", 1);
        assert_non_null(json_object_get(line, "time_ns"));
        assert_non_null(json_string_value(json_object_get(line, "sentence")));
        const char *kind = json_string_value(json_object_get(line, "kind"));
        assert_non_null(kind);
        if (strcmp(kind, "dispatch") == 0 &&
            json_integer_value(json_object_get(line, "job")) == 1 &&
            json_integer_value(json_object_get(line, "segment")) == 0) {
            check_text(line, "model", "text-detector");
            check_text(line, "rationale", "smaller-key");
            check_text(line, "ring", "orchestration");
            check_text(line, "runner_up", "vad");
            check_number(line, "key", 1400000000);
            check_number(line, "runner_up_key", 1432000000);
            check_number(line, "lane", 0);
            seen |= 1;
        } else if (strcmp(kind, "dispatch") == 0) {
            assert_true(json_is_null(json_object_get(line, "runner_up")));
            assert_true(json_is_null(json_object_get(line, "runner_up_key")));
            seen |= 2;
        } else if (strcmp(kind, "abort") == 0) {
            check_text(line, "status", "terminated");
            check_number(line, "release_ns", MS(13));
            check_number(line, "when_ns", MS(18));
            seen |= 4;
        } else if (strcmp(kind, "reject") == 0) {
            check_text(line, "model", "say \"hi\"\n");
            assert_true(json_is_null(json_object_get(line, "lane")));
            seen |= 8;
        } else if (strcmp(kind, "refused") == 0) {
            check_number(line, "needed_bytes", 2 << 20);
            check_number(line, "capacity_bytes", 4 << 20);
            assert_true(json_is_null(json_object_get(line, "job")));
            seen |= 16;
        } else if (strcmp(kind, "counter") == 0 && json_is_null(json_object_get(line, "model"))) {
            assert_non_null(json_string_value(json_object_get(line, "counter")));
            seen |= 32;
        }
        json_decref(line);
    }
    assert_int_equal(lines, TEST_RECORDS);
    assert_int_equal(seen, 63);
    free(text);
    unlink(path);
    assert_nothing_leaked(&heap);
}

/* Every enumerator of the header has a name, a sentence and operand names of its own. */
static void every_kind_of_the_header_is_known(void **state)
{
    (void)state;
    const char *root = getenv("AEGISRT_SOURCE_DIR");
    if (root == NULL) {
        print_message("skipped: AEGISRT_SOURCE_DIR is not set\n");
        skip();
    }
    char path[1024];
    snprintf(path, sizeof path, "%s/include/aegisrt/trace.h", root);
    size_t size, kinds = 0;
    char *text = (char *)test_read_file(path, &size);
    char *from = strstr(text, "typedef enum aegis_trace_kind"),
         *to = strstr(text, "} aegis_trace_kind;");
    assert_true(from != NULL && to != NULL);
    *to = '\0';
    aegis_allocator allocator = aegis_allocator_default();
    aegis_trace_file *file = sample(&allocator);
    for (char *at = strstr(from, "    AEGIS_TRACE_"); at != NULL;
         at = strstr(at + 1, "    AEGIS_TRACE_")) {
        unsigned value = 0;
        assert_int_equal(sscanf(at, " AEGIS_TRACE_%*[A-Z_] = %u", &value), 1);
        if (strcmp(aegis_trace_kind_name((aegis_trace_kind)value), "unknown") == 0) {
            fail_msg("kind %u has no name", value);
        }
        aegis_trace_record record = {.kind = (uint16_t)value, NO_MODEL, NO_LANE};
        if (value != 0 && strstr(describe(file, &record), "unknown kind") != NULL) {
            fail_msg("kind %u (%s) has no sentence", value,
                     aegis_trace_kind_name((aegis_trace_kind)value));
        }
        assert_null(strchr(describe(file, &record), '$'));
        kinds++;
    }
    assert_true(kinds > 30);
    assert_string_equal(aegis_trace_kind_name((aegis_trace_kind)4711), "unknown");
    aegis_trace_file_close(file);
    free(text);
}

/* Random records must never break an export, and the JSON stays JSON. */
static void random_records_export_to_valid_json(void **state)
{
    (void)state;
    uint64_t seed = 424242;
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_clock clock = test_clock_of(&now);
    aegis_trace_config config = {
        .ring_records = 4096, .memory_records = 4096, .header_json = test_header};
    aegis_trace_collector *collector;
    assert_int_equal(aegis_trace_collector_create(&config, &clock, &allocator, &collector, NULL),
                     AEGIS_OK);
    for (int i = 0; i < 3000; i++) {
        aegis_trace_record record;
        uint64_t words[8];
        for (size_t w = 0; w < AEGIS_ARRAY_LENGTH(words); w++) {
            uint64_t any = aegis_random_next(&seed);
            words[w] = any % 4 == 0   ? any % 8
                       : any % 4 == 1 ? 0 - any % 8
                                      : aegis_random_next(&seed);
        }
        memcpy(&record, words, sizeof record);
        record.kind = (uint16_t)(aegis_random_next(&seed) % 90);
        record.rationale = (uint16_t)(aegis_random_next(&seed) % 80);
        record.time_ns |= 1;
        aegis_trace_collector_record(collector, &record);
    }
    char path[512];
    test_path("random", path, sizeof path);
    assert_int_equal(aegis_trace_collector_export_perfetto(collector, path, NULL), AEGIS_OK);
    assert_int_equal(aegis_trace_collector_export_json(collector, path, NULL), AEGIS_OK);
    aegis_trace_collector_destroy(collector);
    size_t size, lines = 0;
    char *text = (char *)test_read_file(path, &size);
    for (const char *at = text; *at != '\0'; lines++) {
        /* jansson has no integers above 2^63: read the others as reals */
        const char *end = strchr(at, '\n');
        assert_non_null(end);
        json_t *line = json_loadb(at, (size_t)(end - at), JSON_DECODE_INT_AS_REAL, NULL);
        if (line == NULL) {
            fail_msg("no JSON: %.*s", (int)(end - at), at);
        }
        json_decref(line);
        at = end + 1;
    }
    assert_int_equal(lines, 3000);
    free(text);
    unlink(path);
    assert_nothing_leaked(&heap);
}

/* Jobs of one model that overlap go to rows of their own; each row's slices nest trivially. */
static void timeline_gives_overlapping_jobs_rows(void **state)
{
    (void)state;
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_trace_file *file = sample(&allocator);
    trace_timeline timeline;
    assert_int_equal(aegis_trace_timeline_init(&timeline, file, NULL), AEGIS_OK);
    size_t begins = 0, ends = 0, second_rows = 0;
    for (size_t i = 0; i < timeline.event_count; i++) {
        const trace_event *event = &timeline.events[i];
        assert_true(i == 0 || timeline.events[i - 1].time_ns <= event->time_ns);
        begins += event->type == TRACE_EVENT_BEGIN;
        ends += event->type == TRACE_EVENT_END;
        if (event->type == TRACE_EVENT_BEGIN) {
            bool has_end = false;
            for (size_t j = i + 1; j < timeline.event_count && !has_end; j++) {
                const trace_event *later = &timeline.events[j];
                if (later->track == event->track && later->type != TRACE_EVENT_INSTANT) {
                    assert_int_equal(later->type, TRACE_EVENT_END);
                    assert_int_equal(later->record, event->record);
                    has_end = true;
                }
            }
            assert_true(has_end);
            second_rows += event->track == aegis_trace_track(TRACE_TRACK_MODEL, 0, 0, 1);
        }
    }
    assert_int_equal(begins, 9); /* 5 executions, 4 jobs */
    assert_int_equal(ends, 9);
    assert_int_equal(second_rows, 1); /* job 3 was released while job 1 ran */
    aegis_trace_timeline_finish(&timeline);
    aegis_trace_file_close(file);
    assert_nothing_leaked(&heap);
}

/* Leaves trace_sample.perfetto in the build folder, for check_perfetto.py. */
static void perfetto_sample_is_written(void **state)
{
    (void)state;
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_trace_file *file = sample(&allocator);
    const char *folder = getenv("AEGISRT_BINARY_DIR");
    char path[1024];
    snprintf(path, sizeof path, "%s/trace_sample.perfetto", folder == NULL ? "/tmp" : folder);
    assert_int_equal(aegis_trace_export_perfetto(file, path, NULL), AEGIS_OK);
    size_t size;
    unsigned char *bytes = test_read_file(path, &size);
    assert_true(size > 1000);
    assert_int_equal(bytes[0], 1 << 3 | 2); /* Trace.packet, a message */
    free(bytes);
    aegis_trace_file_close(file);
    assert_nothing_leaked(&heap);
}

static void export_that_cannot_be_written_is_an_error(void **state)
{
    (void)state;
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_trace_file *file = sample(&allocator);
    aegis_error err = {0};
    assert_int_equal(aegis_trace_export_json(file, "/dev/full", &err), AEGIS_ERROR_IO);
    assert_non_null(strstr(err.message, "/dev/full"));
    assert_int_equal(aegis_trace_export_perfetto(file, "/dev/full", &err), AEGIS_ERROR_IO);
    assert_int_equal(aegis_trace_export_json(file, "/nonexistent/x", &err), AEGIS_ERROR_IO);
    assert_int_equal(aegis_trace_export_perfetto(file, "/nonexistent/x", &err), AEGIS_ERROR_IO);
    aegis_trace_file_close(file);
    assert_nothing_leaked(&heap);
}

/* "-" is standard output, which stays open, and gets the same bytes as a file. */
static void dash_is_standard_output(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_trace_file *file = sample(&allocator);
    char path[512], other[512];
    test_path("stdout", path, sizeof path);
    test_path("named", other, sizeof other);
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    FILE *target = fopen(path, "wb");
    assert_true(saved >= 0 && target != NULL);
    dup2(fileno(target), STDOUT_FILENO);
    aegis_status status = aegis_trace_export_json(file, "-", NULL);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    fclose(target);
    assert_int_equal(status, AEGIS_OK);
    assert_int_equal(aegis_trace_export_json(file, other, NULL), AEGIS_OK);
    size_t size, other_size;
    unsigned char *bytes = test_read_file(path, &size);
    unsigned char *other_bytes = test_read_file(other, &other_size);
    assert_int_equal(size, other_size);
    assert_memory_equal(bytes, other_bytes, size);
    free(bytes);
    free(other_bytes);
    unlink(path);
    unlink(other);
    aegis_trace_file_close(file);
}

static void perfetto_survives_each_failing_allocation(void **state)
{
    (void)state;
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_trace_file *file = sample(&allocator);
    test_heap before = heap;
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    for (long nth = 1; nth < 50 && status != AEGIS_OK; nth++) {
        heap.fail_at = heap.calls + nth;
        status = aegis_trace_export_perfetto(file, "/dev/null", NULL);
        assert_true(status == AEGIS_OK || status == AEGIS_ERROR_NO_MEMORY);
        assert_true(status != AEGIS_OK || nth > 4);
        assert_int_equal(heap.live_blocks, before.live_blocks);
        assert_int_equal(heap.live_bytes, before.live_bytes);
    }
    assert_int_equal(status, AEGIS_OK);
    aegis_trace_file_close(file);
    assert_nothing_leaked(&heap);
}

typedef aegis_status (*export_function)(aegis_trace_collector *, const char *, aegis_error *);

static aegis_status
export_kept(export_function export, size_t records, const char *path, aegis_error *err)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_clock clock = test_clock_of(&now);
    aegis_trace_collector *collector = test_collect(NULL, records, &clock, &allocator);
    const aegis_status status = export(collector, path, err);
    aegis_trace_collector_destroy(collector);
    return status;
}

static aegis_status as_json(aegis_trace_collector *collector, const char *path, aegis_error *err)
{
    return aegis_trace_collector_export_json(collector, path, err);
}

static aegis_status
as_perfetto(aegis_trace_collector *collector, const char *path, aegis_error *err)
{
    return aegis_trace_collector_export_perfetto(collector, path, err);
}

static void what_is_kept_exports_or_says_why_not(void **state)
{
    (void)state;
    static const export_function exports[] = {as_json, as_perfetto};
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(exports); i++) {
        aegis_error err = {0};
        assert_int_equal(export_kept(exports[i], 0, "/dev/null", &err), AEGIS_ERROR_STATE);
        assert_int_equal(export_kept(exports[i], 1000, "/dev/full", &err), AEGIS_ERROR_IO);
        assert_non_null(strstr(err.message, "/dev/full"));
        test_heap heap = {0};
        aegis_allocator allocator = test_allocator(&heap);
        aegis_clock clock = test_clock_of(&now);
        aegis_trace_collector *collector = test_collect(NULL, 1000, &clock, &allocator);
        heap.fail_at = heap.calls + 1;
        assert_int_equal(exports[i](collector, "/dev/null", &err), AEGIS_ERROR_NO_MEMORY);
        assert_int_equal(exports[i](collector, "/dev/null", &err), AEGIS_OK);
        aegis_trace_collector_destroy(collector);
        assert_nothing_leaked(&heap);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instants_lose_nothing),
        cmocka_unit_test(sentences_say_what_was_compared),
        cmocka_unit_test(short_buffers_cut_at_whole_characters),
        cmocka_unit_test(json_lines_name_everything),
        cmocka_unit_test(every_kind_of_the_header_is_known),
        cmocka_unit_test(random_records_export_to_valid_json),
        cmocka_unit_test(timeline_gives_overlapping_jobs_rows),
        cmocka_unit_test(perfetto_sample_is_written),
        cmocka_unit_test(export_that_cannot_be_written_is_an_error),
        cmocka_unit_test(dash_is_standard_output),
        cmocka_unit_test(perfetto_survives_each_failing_allocation),
        cmocka_unit_test(what_is_kept_exports_or_says_why_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
