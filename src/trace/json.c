/* SPDX-License-Identifier: Apache-2.0 */
/* JSON lines. Written by hand rather than as a tree for each record: a trace has millions, and job
 * numbers use all 64 bits. */
#include "trace/kinds.h"
#include "trace/output.h"

#include <inttypes.h>

#define SCHEMA_VERSION 1

/* `text` is UTF-8: names come from JSON or were checked. */
static void put_string(FILE *out, const char *text)
{
    putc_unlocked('"', out);
    for (const char *at = text; *at != '\0'; at++) {
        unsigned char byte = (unsigned char)*at;
        if (byte == '"' || byte == '\\') {
            putc_unlocked('\\', out);
            putc_unlocked(byte, out);
        } else if (byte < 0x20 || byte == 0x7f) {
            fprintf(out, "\\u%04x", byte);
        } else {
            putc_unlocked(byte, out);
        }
    }
    putc_unlocked('"', out);
}

static void put_model(FILE *out, const aegis_trace_file *file, int64_t model)
{
    char buffer[32];
    if (model < 0 || model >= AEGIS_TRACE_NONE) {
        fputs("null", out);
        return;
    }
    put_string(out, aegis_trace_file_model_name(file, (uint16_t)model, buffer, sizeof buffer));
}

static void put_number_or_null(FILE *out, int64_t value, bool is_null)
{
    if (is_null) {
        fputs("null", out);
    } else {
        fprintf(out, "%" PRId64, value);
    }
}

/* A number stands for a status that this program does not know. */
static void put_status(FILE *out, int64_t value)
{
    if (value < 0 || value > AEGIS_ERROR_INTERNAL) {
        fprintf(out, "%" PRId64, value);
    } else {
        put_string(out, aegis_status_name((aegis_status)value));
    }
}

static void put_category(FILE *out, int64_t value)
{
    if (value < 0 || value > AEGIS_CATEGORY_FATAL) {
        fprintf(out, "%" PRId64, value);
    } else {
        put_string(out, aegis_error_category_name((aegis_error_category)value));
    }
}

static void put_operand(FILE *out,
                        const aegis_trace_file *file,
                        const aegis_trace_record *record,
                        const trace_operand *operand,
                        int64_t value)
{
    fprintf(out, ",\"%s\":", operand->name);
    switch (operand->type) {
    case TRACE_OPERAND_OPTIONAL:
        put_number_or_null(out, value, value < 0);
        break;
    case TRACE_OPERAND_RUNNER_UP:
        put_number_or_null(out, value, record->d < 0);
        break;
    case TRACE_OPERAND_MODEL:
        put_model(out, file, value);
        break;
    case TRACE_OPERAND_STATUS:
        put_status(out, value);
        break;
    case TRACE_OPERAND_CATEGORY:
        put_category(out, value);
        break;
    case TRACE_OPERAND_COUNTER:
        put_string(out, aegis_trace_counter_name(value));
        break;
    case TRACE_OPERAND_ABSENT:
    case TRACE_OPERAND_NUMBER:
        put_number_or_null(out, value, false);
        break;
    }
}

/* A core's record keeps its launch bound in the place of the job. */
static void put_job(FILE *out, const aegis_trace_record *record)
{
    if (record->kind == AEGIS_TRACE_EVENT_CORE) {
        fprintf(out, "null,\"launch_bound_ns\":%" PRIu64, record->job);
    } else if (record->job == 0) {
        fputs("null", out);
    } else {
        fprintf(out, "%" PRIu64, record->job);
    }
}

static void put_record(FILE *out, const aegis_trace_file *file, const aegis_trace_record *record)
{
    fprintf(out, "{\"schema_version\":%d,\"time_ns\":%" PRIu64 ",\"ring\":", SCHEMA_VERSION,
            record->time_ns);
    put_string(out, aegis_trace_file_ring_name(file, record->ring));
    fprintf(out, ",\"sequence\":%" PRIu32 ",\"kind\":\"%s\",\"model\":", record->sequence,
            aegis_trace_kind_name((aegis_trace_kind)record->kind));
    put_model(out, file, record->model);
    fputs(",\"job\":", out);
    put_job(out, record);
    fputs(",\"lane\":", out);
    put_number_or_null(out, record->lane, record->lane == AEGIS_TRACE_NONE);
    fprintf(out, ",\"rationale\":\"%s\"", aegis_rationale_name((aegis_rationale)record->rationale));
    const trace_operand *operands = aegis_trace_operands(record);
    for (unsigned i = 0; i < TRACE_OPERANDS && operands[i].type != TRACE_OPERAND_ABSENT; i++) {
        put_operand(out, file, record, &operands[i], aegis_trace_operand_value(record, i));
    }
    char text[AEGIS_TRACE_SENTENCE_BYTES];
    fputs(",\"sentence\":", out);
    put_string(out, aegis_trace_file_describe(file, record, text, sizeof text));
    fputs("}\n", out);
}

aegis_status
aegis_trace_export_json(const aegis_trace_file *file, const char *path, aegis_error *err)
{
    trace_output output;
    aegis_status status = aegis_trace_output_open(&output, path, err);
    if (status != AEGIS_OK) {
        return status;
    }
    size_t count;
    const aegis_trace_record *records = aegis_trace_file_records(file, &count);
    for (size_t i = 0; i < count && !ferror(output.stream); i++) {
        put_record(output.stream, file, &records[i]);
    }
    return aegis_trace_output_close(&output, err);
}
