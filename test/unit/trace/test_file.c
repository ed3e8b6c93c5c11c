/* SPDX-License-Identifier: Apache-2.0 */
#include "trace_test.h"

#include "base/base.h"
#include "support/expect.h"
#include "trace/format.h"

#include <sys/stat.h>

static test_clock now = {.now_ns = 5};

/* The bytes of the sample trace. */
static unsigned char *sample(size_t *ret_size)
{
    char path[512];
    aegis_allocator allocator = aegis_allocator_default();
    aegis_clock clock = test_clock_of(&now);
    test_path("sample", path, sizeof path);
    aegis_trace_collector *collector = test_collect(path, 0, &clock, &allocator);
    assert_int_equal(aegis_trace_collector_finish(collector, NULL), AEGIS_OK);
    aegis_trace_collector_destroy(collector);
    unsigned char *bytes = test_read_file(path, ret_size);
    unlink(path);
    return bytes;
}

/* A copy that ends exactly where it ends, so that a sanitizer sees a read past it. */
static aegis_status parse_exact(const unsigned char *bytes,
                                size_t size,
                                const aegis_allocator *allocator,
                                aegis_trace_file **ret_file,
                                aegis_error *err)
{
    unsigned char *copy = malloc(size == 0 ? 1 : size);
    memcpy(copy, bytes, size);
    aegis_status status = aegis_trace_file_parse(copy, size, allocator, ret_file, err);
    free(copy);
    return status;
}

static void file_cut_at_any_length_is_a_prefix_or_an_error(void **state)
{
    (void)state;
    size_t size, whole_count = 0, last_count = 0;
    unsigned char *bytes = sample(&size);
    size_t header_end = sizeof(trace_file_head) + sizeof(trace_chunk) + strlen(test_header);
    for (size_t length = 0; length <= size; length++) {
        test_heap heap = {0};
        aegis_allocator allocator = test_allocator(&heap);
        aegis_trace_file *file;
        aegis_error err = {0};
        aegis_status status = parse_exact(bytes, length, &allocator, &file, &err);
        if (length < header_end) {
            assert_int_equal(status, AEGIS_ERROR_PARSE);
            assert_non_null(strstr(err.message, "offset"));
        } else {
            assert_int_equal(status, AEGIS_OK);
            assert_int_equal(aegis_trace_file_complete(file), length == size);
            aegis_trace_file_records(file, &whole_count);
            assert_true(whole_count >= last_count);
            last_count = whole_count;
            aegis_trace_file_close(file);
        }
        assert_nothing_leaked(&heap);
    }
    assert_int_equal(last_count, TEST_RECORDS);
    free(bytes);
}

static void any_damaged_byte_is_found(void **state)
{
    (void)state;
    size_t size;
    unsigned char *bytes = sample(&size);
    static const unsigned char damages[] = {0x01, 0x80, 0xff};
    for (size_t at = 0; at < size; at++) {
        for (size_t i = 0; i < sizeof damages; i++) {
            test_heap heap = {0};
            aegis_allocator allocator = test_allocator(&heap);
            aegis_trace_file *file = NULL;
            bytes[at] ^= damages[i];
            assert_int_equal(parse_exact(bytes, size, &allocator, &file, NULL), AEGIS_ERROR_PARSE);
            bytes[at] ^= damages[i];
            assert_null(file);
            assert_nothing_leaked(&heap);
        }
    }
    free(bytes);
}

/* ---- files made by hand, with right checksums and wrong contents ---- */

typedef struct builder {
    unsigned char bytes[4096];
    size_t size;
} builder;

static void put(builder *out, const void *bytes, size_t size)
{
    assert_true(size <= sizeof out->bytes - out->size);
    memcpy(out->bytes + out->size, bytes, size);
    out->size += size;
}

static void put_head(builder *out, uint32_t version, uint32_t record_bytes)
{
    trace_file_head head = {.version = version, .record_bytes = record_bytes};
    memcpy(head.magic, TRACE_MAGIC, sizeof head.magic);
    head.checksum = aegis_trace_head_checksum(&head);
    put(out, &head, sizeof head);
}

static void put_chunk(builder *out,
                      uint32_t tag,
                      uint32_t ring,
                      uint32_t count,
                      uint32_t sequence,
                      const void *payload,
                      size_t size)
{
    trace_chunk chunk = {.tag = tag, .ring = ring, .count = count, .sequence = sequence};
    chunk.payload_checksum = aegis_trace_checksum(TRACE_CHECKSUM_START, payload, size);
    chunk.checksum = aegis_trace_chunk_checksum(&chunk);
    put(out, &chunk, sizeof chunk);
    put(out, payload, size);
}

static void put_text(builder *out, uint32_t tag, uint32_t ring, const char *text)
{
    put_chunk(out, tag, ring, (uint32_t)strlen(text), 0, text, strlen(text));
}

static void put_record(builder *out, uint16_t ring, uint32_t sequence, uint64_t time_ns)
{
    aegis_trace_record record = {
        .time_ns = time_ns, .ring = ring, .sequence = sequence, .kind = AEGIS_TRACE_MARK};
    put_chunk(out, TRACE_TAG_RECORDS, ring, 1, sequence, &record, sizeof record);
}

static void start(builder *out)
{
    out->size = 0;
    put_head(out, TRACE_VERSION, sizeof(aegis_trace_record));
    put_text(out, TRACE_TAG_HEADER, 0, "{}");
    put_text(out, TRACE_TAG_NAME, 0, "zero");
}

static void expect_refusal(const builder *built, const char *text)
{
    test_heap heap = {0};
    aegis_allocator allocator = test_allocator(&heap);
    aegis_trace_file *file = NULL;
    aegis_error err = {0};
    assert_int_equal(parse_exact(built->bytes, built->size, &allocator, &file, &err),
                     AEGIS_ERROR_PARSE);
    assert_null(file);
    if (strstr(err.message, text) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.message, text);
    }
    assert_nothing_leaked(&heap);
}

static aegis_trace_file *expect_file(const builder *built)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_trace_file *file = NULL;
    aegis_error err = {0};
    if (parse_exact(built->bytes, built->size, &allocator, &file, &err) != AEGIS_OK) {
        fail_msg("%s", err.message);
    }
    return file;
}

static void wrong_contents_are_refused_with_their_place(void **state)
{
    (void)state;
    builder b = {.size = 0};
    put(&b, "not a trace at all, but long enough for one", 43);
    expect_refusal(&b, "does not begin with AEGISTRC");
    b.size = 0;
    put_head(&b, 9, sizeof(aegis_trace_record));
    expect_refusal(&b, "trace version 9");
    b.size = 0;
    put_head(&b, TRACE_VERSION, 56);
    expect_refusal(&b, "56 bytes");
    b.size = 0;
    put_head(&b, TRACE_VERSION, sizeof(aegis_trace_record));
    put_text(&b, TRACE_TAG_NAME, 0, "zero");
    expect_refusal(&b, "first block must be the header");
    b.size = 0;
    put_head(&b, TRACE_VERSION, sizeof(aegis_trace_record));
    put_text(&b, TRACE_TAG_HEADER, 0, "{\"a\": }");
    expect_refusal(&b, "no JSON");
    start(&b);
    put_text(&b, TRACE_TAG_NAME, 2, "two");
    expect_refusal(&b, "ring 2 is named where ring 1 was expected");
    start(&b);
    put_text(&b, TRACE_TAG_NAME, 1, "\xc3");
    expect_refusal(&b, "no UTF-8");
    start(&b);
    put_chunk(&b, TRACE_TAG_NAME, 1, 3, 0, "a\0b", 3);
    expect_refusal(&b, "no UTF-8");
    start(&b);
    put_record(&b, 1, 0, 1);
    expect_refusal(&b, "ring 1, which has no name");
    start(&b);
    put_chunk(&b, TRACE_TAG_RECORDS, 0, 0, 0, "", 0);
    expect_refusal(&b, "block of 0 records");
    start(&b);
    put_chunk(&b, 0x41414141, 0, 0, 0, "", 0);
    expect_refusal(&b, "unknown kind of block");
}

static void wrong_numbers_are_refused(void **state)
{
    (void)state;
    builder b = {.size = 0};
    start(&b);
    put_record(&b, 0, 5, 1);
    put_record(&b, 0, 5, 2);
    expect_refusal(&b, "record 5 of ring 0 where record 6");
    start(&b);
    aegis_trace_record other_ring = {.ring = 3};
    put_chunk(&b, TRACE_TAG_RECORDS, 0, 1, 0, &other_ring, sizeof other_ring);
    expect_refusal(&b, "ring 3");
    start(&b);
    aegis_trace_record other_sequence = {.sequence = 4};
    put_chunk(&b, TRACE_TAG_RECORDS, 0, 1, 3, &other_sequence, sizeof other_sequence);
    expect_refusal(&b, "record 4");

    trace_totals totals[] = {{.written = 2}, {.written = 0}};
    start(&b);
    put_record(&b, 0, 0, 1);
    put_chunk(&b, TRACE_TAG_TOTALS, 0, 1, 0, totals, sizeof *totals);
    expect_refusal(&b, "the totals say 2 records of ring zero, the file holds 1");
    start(&b);
    put_chunk(&b, TRACE_TAG_TOTALS, 0, 2, 0, totals, sizeof totals);
    expect_refusal(&b, "totals of 2 rings where those of 1");
    start(&b);
    totals[0].written = 0;
    put_chunk(&b, TRACE_TAG_TOTALS, 0, 1, 0, totals, sizeof *totals);
    put_record(&b, 0, 0, 1);
    expect_refusal(&b, "end the file");
}

static void unfinished_file_counts_its_gaps_as_drops(void **state)
{
    (void)state;
    builder b = {.size = 0};
    start(&b);
    put_text(&b, TRACE_TAG_NAME, 1, "one");
    put_record(&b, 0, 2, 10);
    put_record(&b, 1, 0, 10);
    put_record(&b, 0, 4, 10);
    put_record(&b, 1, 1, 5);
    aegis_trace_file *file = expect_file(&b);
    assert_false(aegis_trace_file_complete(file));
    assert_int_equal(aegis_trace_file_dropped(file), 3);
    assert_int_equal(aegis_trace_file_ring_dropped(file, 0), 3);
    assert_int_equal(aegis_trace_file_ring_dropped(file, 1), 0);
    size_t count;
    const aegis_trace_record *records = aegis_trace_file_records(file, &count);
    static const uint32_t expected[][2] = {{1, 1}, {0, 2}, {0, 4}, {1, 0}};
    assert_int_equal(count, AEGIS_ARRAY_LENGTH(expected));
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(records[i].ring, expected[i][0]);
        assert_int_equal(records[i].sequence, expected[i][1]);
    }
    aegis_trace_file_close(file);
    aegis_trace_file_close(NULL);
}

/* After 2^32 writes the sequence starts anew; the order stays the written one. A gap is believed up
 * to 2^31, so two steps lead to the end of the range. */
static void sequence_may_wrap(void **state)
{
    (void)state;
    builder b = {.size = 0};
    start(&b);
    put_record(&b, 0, 0x7fffffff, 1);
    put_record(&b, 0, 0xffffffff, 1);
    put_record(&b, 0, 0, 1);
    aegis_trace_file *file = expect_file(&b);
    size_t count;
    const aegis_trace_record *records = aegis_trace_file_records(file, &count);
    assert_int_equal(count, 3);
    assert_int_equal(records[1].sequence, 0xffffffff);
    assert_int_equal(records[2].sequence, 0);
    aegis_trace_file_close(file);
}

static void missing_file_is_named(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_trace_file *file = NULL;
    aegis_error err = {0};
    assert_int_not_equal(aegis_trace_file_open("/nonexistent/trace", &allocator, &file, &err),
                         AEGIS_OK);
    assert_non_null(strstr(err.message, "/nonexistent/trace"));
    assert_null(file);
}

/* Random traces of several rings against an independent order: insertion by (time, ring, sequence).
 */
static void random_traces_are_sorted_stably(void **state)
{
    (void)state;
    uint64_t seed = 20240607;
    for (int round = 0; round < 200; round++) {
        builder b = {.size = 0};
        start(&b);
        put_text(&b, TRACE_TAG_NAME, 1, "one");
        put_text(&b, TRACE_TAG_NAME, 2, "two");
        uint32_t next[3] = {0};
        size_t total = aegis_random_next(&seed) % 30;
        for (size_t i = 0; i < total; i++) {
            uint16_t ring = (uint16_t)(aegis_random_next(&seed) % 3);
            put_record(&b, ring, next[ring]++, aegis_random_next(&seed) % 5);
        }
        aegis_trace_file *file = expect_file(&b);
        size_t count;
        const aegis_trace_record *r = aegis_trace_file_records(file, &count);
        assert_int_equal(count, total);
        for (size_t i = 1; i < count; i++) {
            uint64_t before =
                r[i - 1].time_ns << 40 | (uint64_t)r[i - 1].ring << 32 | r[i - 1].sequence;
            uint64_t after = r[i].time_ns << 40 | (uint64_t)r[i].ring << 32 | r[i].sequence;
            if (before >= after) {
                fail_msg("round %d: record %zu out of order", round, i);
            }
        }
        aegis_trace_file_close(file);
    }
}

static void open_as(const char *path, aegis_status wanted)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_trace_file *file = NULL;
    aegis_error err = {0};
    expect(aegis_trace_file_open(path, &allocator, &file, &err), wanted, &err, path);
    assert_null(file);
}

static void files_that_cannot_be_read_say_why(void **state)
{
    (void)state;
    char path[512], folder[520];
    test_path("unreadable", path, sizeof path);
    snprintf(folder, sizeof folder, "%s.d", path);
    assert_int_equal(mkdir(folder, 0755), 0);
    FILE *file = fopen(path, "wb");
    assert_true(file != NULL && fputs("no trace at all", file) >= 0 && fclose(file) == 0);
    open_as(folder, AEGIS_ERROR_IO);
    open_as("/nonexistent/trace", AEGIS_ERROR_NOT_FOUND);
    open_as(path, AEGIS_ERROR_PARSE);
    /* A header that nobody has memory for. */
    test_heap heap = {.fail_at = 1};
    aegis_allocator failing = test_allocator(&heap);
    aegis_trace_file *none = NULL;
    size_t size;
    unsigned char *bytes = sample(&size);
    assert_int_equal(aegis_trace_file_parse(bytes, size, &failing, &none, NULL),
                     AEGIS_ERROR_NO_MEMORY);
    assert_null(none);
    free(bytes);
    /* As a user who may not read what belongs to root. */
    assert_int_equal(chmod(path, 0), 0);
    if (become_nobody()) {
        open_as(path, AEGIS_ERROR_PERMISSION);
    }
    become_oneself();
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_cut_at_any_length_is_a_prefix_or_an_error),
        cmocka_unit_test(any_damaged_byte_is_found),
        cmocka_unit_test(wrong_contents_are_refused_with_their_place),
        cmocka_unit_test(wrong_numbers_are_refused),
        cmocka_unit_test(unfinished_file_counts_its_gaps_as_drops),
        cmocka_unit_test(sequence_may_wrap),
        cmocka_unit_test(missing_file_is_named),
        cmocka_unit_test(files_that_cannot_be_read_say_why),
        cmocka_unit_test(random_traces_are_sorted_stably),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
