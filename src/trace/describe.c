/* SPDX-License-Identifier: Apache-2.0 */
/* Sentences are templates, one for each kind (and rationale, where it brings operands of its own).
 * In a template:
 *   $m the model            $t the record's time       $o " on lane N", or nothing without a lane
 *   $j the model and job    $l the lane's number       $f " of MODEL", or nothing without a model
 *   $w the rationale        $g " segment N" when operand a, a segment, is above 0
 *   $b the launch bound of a core, which its record keeps in the place of the job
 *   $1x to $4x operands a to d, x being the form: t instant, u "at" an instant, or "as admitted"
 * for 0, d duration, b bytes, n number, p parts per million as percent, m model, s status, c error
 *      category, a admission step, r mark of the run, k counter, v value of the counter in a */
#include "base/base.h"
#include "trace/kinds.h"
#include "trace/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct sentence {
    aegis_trace_kind kind;
    aegis_rationale rationale; /* NONE: any; a special one stands before the general one */
    const char *text;
} sentence;

/* clang-format off */
static const sentence sentences[] = {
    {AEGIS_TRACE_EVENT_MODEL_ADD, AEGIS_WHY_NONE, "$m added$o at $t: period $1d, deadline $2d, segments $3n"},
    {AEGIS_TRACE_EVENT_MODEL_REMOVE, AEGIS_WHY_NONE, "$m removed at $t"},
    {AEGIS_TRACE_EVENT_SUBMIT, AEGIS_WHY_NONE,
     "$j submitted at $t: released at $1t, due $2u, priority $3n"},
    {AEGIS_TRACE_EVENT_TIMER, AEGIS_WHY_NONE, "a timer passed at $t"},
    {AEGIS_TRACE_EVENT_SEGMENT_DONE, AEGIS_WHY_NONE,
     "$j segment $1n reported done$o at $t: started at $2t, ended at $3t, status $4s"},
    {AEGIS_TRACE_EVENT_MODE, AEGIS_WHY_NONE, "mode $1n entered at $t"},
    {AEGIS_TRACE_EVENT_CORE, AEGIS_WHY_NONE,
     "scheduler core made at $t: $1n lanes, at most $2n models and $3n jobs, wake bound $4d, launch bound $b"},
    {AEGIS_TRACE_EVENT_MODEL_LIMITS, AEGIS_WHY_NONE,
     "$m limited at $t: compute budget $1d, priority $2n, queue depth $3n, flags $4n"},
    {AEGIS_TRACE_EVENT_MODEL_SEGMENT, AEGIS_WHY_NONE,
     "$m segment $1n declared at $t: bound $2d, enforceable $3d"},
    {AEGIS_TRACE_EVENT_CLEAR_FAULT, AEGIS_WHY_NONE, "the fault of $m cleared at $t"},
    {AEGIS_TRACE_EVENT_STOP, AEGIS_WHY_NONE, "dispatching stopped at $t"},
    {AEGIS_TRACE_EVENT_SEGMENT_READY, AEGIS_WHY_NONE,
     "$m segment $1n had what it waited for at $t"},
    {AEGIS_TRACE_EVENT_INPUTS_READY, AEGIS_WHY_NONE,
     "the inputs of $j were copied in from $1t to $2t, status $3s, seen at $t"},
    {AEGIS_TRACE_EVENT_MODEL_JITTER, AEGIS_WHY_NONE,
     "releases of $m may be seen $1d late beside the wake bound from $t on"},
    {AEGIS_TRACE_DISPATCH, AEGIS_WHY_SMALLER_KEY,
     "$j$g dispatched$o at $t because its key $2n was smaller than $4m's $3n"},
    {AEGIS_TRACE_DISPATCH, AEGIS_WHY_TIE_MODEL,
     "$j$g dispatched$o at $t because its key $2n was equal to $4m's and its model comes first"},
    {AEGIS_TRACE_DISPATCH, AEGIS_WHY_TIE_SEQUENCE,
     "$j$g dispatched$o at $t because key $2n and model were equal and it was submitted earlier"},
    {AEGIS_TRACE_DISPATCH, AEGIS_WHY_NONE, "$j$g dispatched$o at $t because $w"},
    {AEGIS_TRACE_ARM_TIMER, AEGIS_WHY_NONE, "a timer armed at $t for $1t"},
    {AEGIS_TRACE_COMPLETE, AEGIS_WHY_NONE,
     "$j completed$o at $3t, $4d after its release at $1t, due at $2t"},
    {AEGIS_TRACE_MISS, AEGIS_WHY_NONE,
     "$j missed its deadline $2t$o: it finished at $3t, $4d after its release at $1t; $w"},
    {AEGIS_TRACE_REJECT, AEGIS_WHY_NONE, "$j, released at $1t, rejected at $t because $w"},
    {AEGIS_TRACE_ABORT, AEGIS_WHY_NONE,
     "$j, released at $1t and due at $2t, aborted$o at $3t because $w; status $4s"},
    {AEGIS_TRACE_OVERRUN, AEGIS_WHY_EXCUSED_WAKE,
     "$j was seen $2d after its release, and the proofs count at most $1d: they are void$o from $t until it is idle"},
    {AEGIS_TRACE_OVERRUN, AEGIS_WHY_EXCUSED_OVERRUN,
     "$j segment $3n held its lane for $2d by $t, and the proofs count at most $1d: they are void$o until it is idle"},
    {AEGIS_TRACE_OVERRUN, AEGIS_WHY_NONE,
     "$j segment $3n overran$o: $2d had passed at $t of its bound $1d"},
    {AEGIS_TRACE_TERMINATE, AEGIS_WHY_NONE, "$j was told to end$o at $t, past its bound $1d"},
    {AEGIS_TRACE_SKIP, AEGIS_WHY_NONE, "$j, released at $1t, skipped at $t because $w"},
    {AEGIS_TRACE_LANE_WHOLE, AEGIS_WHY_NONE, "the proofs of lane $l hold again since $1t"},
    {AEGIS_TRACE_IDLE_UNTIL, AEGIS_WHY_NONE, "lane $l waits from $t until $1t because $w"},
    {AEGIS_TRACE_COPY_IN, AEGIS_WHY_NONE, "the copy of the inputs of $j, released at $1t, put into the link's queue at $t"},
    {AEGIS_TRACE_EXECUTE, AEGIS_WHY_NONE, "$j segment $1n ran$o from $2t to $3t, status $4s"},
    {AEGIS_TRACE_PAGE_IN, AEGIS_WHY_NONE, "$j read $2b of its weights in$o before it ran; it ended at $t"},
    {AEGIS_TRACE_ADMISSION_STEP, AEGIS_WHY_NONE,
     "admission of $m, step $1n ($1a), ended at $t after $3d, status $2s"},
    {AEGIS_TRACE_ADMITTED, AEGIS_WHY_BACKGROUND,
     "$m admitted$o at $t as background: it runs when nothing else is ready and holds others up by less than $1d; they use the lane to $3p"},
    {AEGIS_TRACE_ADMITTED, AEGIS_WHY_NONE,
     "$m admitted$o at $t: bound $1d, worst response $2d, utilisation $3p"},
    {AEGIS_TRACE_REFUSED, AEGIS_WHY_UTILISATION,
     "$m refused at $t because its lane would be used for $1p of its time"},
    {AEGIS_TRACE_REFUSED, AEGIS_WHY_LINK,
     "$m refused at $t because early copies would use the link to the device for $1p of its time"},
    {AEGIS_TRACE_REFUSED, AEGIS_WHY_RESPONSE,
     "$m refused at $t because $3m would respond in $1d and its deadline is $2d"},
    {AEGIS_TRACE_REFUSED, AEGIS_WHY_DEMAND,
     "$m refused at $t because within $1d work of $2d would be due, with $3m blocking"},
    {AEGIS_TRACE_REFUSED, AEGIS_WHY_MEMORY,
     "$m refused at $t because it needs $1b and $2b of $3b are free"},
    {AEGIS_TRACE_REFUSED, AEGIS_WHY_MODEL_BUDGET,
     "$m refused at $t because it needs at least $1b and its own limit is $2b"},
    {AEGIS_TRACE_REFUSED, AEGIS_WHY_COMPUTE_LIMIT,
     "$m refused at $t because its bound $1d is above its compute budget $2d"},
    {AEGIS_TRACE_REFUSED, AEGIS_WHY_NONE, "$m refused at $t because $w"},
    {AEGIS_TRACE_EVICTED, AEGIS_WHY_NONE, "$m evicted$o at $t"},
    {AEGIS_TRACE_PLAN, AEGIS_WHY_NONE,
     "memory planned$o at $t: height $1b, lower bound $2b, capacity $3b, $4n buffers"},
    {AEGIS_TRACE_BIND, AEGIS_WHY_NONE, "$m bound at $t: $2b of $3w at offset $1n"},
    {AEGIS_TRACE_ALLOCATION, AEGIS_WHY_NONE, "$m allocation $1n recorded: $2b at offset $3n"},
    {AEGIS_TRACE_SPILL, AEGIS_WHY_NONE,
     "$j departed from its plan at $t: allocation $1n of $2b where $3b was recorded"},
    {AEGIS_TRACE_PRESSURE, AEGIS_WHY_NONE,
     "memory pressure at $t: $3b were wanted and $2b could be freed, by policy $1y"},
    {AEGIS_TRACE_SYNCHRONIZE, AEGIS_WHY_NONE, "lane $l waited $1d for its device until $t"},
    {AEGIS_TRACE_FAULT, AEGIS_WHY_NONE,
     "$m failed at $t with status $1s ($2c, native code $3n)"},
    {AEGIS_TRACE_COUNTER, AEGIS_WHY_NONE, "$1k$f was $2v at $t"},
    {AEGIS_TRACE_MARK, AEGIS_WHY_NONE, "the run $1r at $t"},
};
/* clang-format on */

typedef struct writing {
    const aegis_trace_file *file;
    const aegis_trace_record *record;
    char *buffer;
    size_t size, used; /* used < size: there is always a NUL */
} writing;

static void add(writing *out, const char *format, ...) AEGIS_PRINTF(2, 3);

static void add(writing *out, const char *format, ...)
{
    size_t left = out->size - out->used;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(out->buffer + out->used, left, format, arguments);
    va_end(arguments);
    if (length > 0) {
        out->used += (size_t)length < left ? (size_t)length : left - 1;
    }
}

const char *aegis_trace_format_instant(uint64_t ns, char *buffer, size_t size)
{
    uint64_t unit = ns >= AEGIS_NS_PER_S    ? AEGIS_NS_PER_S
                    : ns >= AEGIS_NS_PER_MS ? AEGIS_NS_PER_MS
                    : ns >= AEGIS_NS_PER_US ? AEGIS_NS_PER_US
                                            : 1;
    const char *name = unit == AEGIS_NS_PER_S    ? "s"
                       : unit == AEGIS_NS_PER_MS ? "ms"
                       : unit == AEGIS_NS_PER_US ? "us"
                                                 : "ns";
    uint64_t rest = ns % unit;
    int digits = unit == AEGIS_NS_PER_S ? 9 : unit == AEGIS_NS_PER_MS ? 6 : 3;
    for (; digits > 0 && rest % 1000 == 0; digits -= 3) {
        rest /= 1000;
    }
    if (rest == 0) {
        snprintf(buffer, size, "%" PRIu64 " %s", ns / unit, name);
    } else {
        snprintf(buffer, size, "%" PRIu64 ".%0*" PRIu64 " %s", ns / unit, digits, rest, name);
    }
    return buffer;
}

static void add_instant(writing *out, uint64_t ns)
{
    char text[48];
    if (ns == (uint64_t)INT64_MAX) { /* due: background; armed: for nothing */
        add(out, "no instant");
    } else {
        add(out, "%s", aegis_trace_format_instant(ns, text, sizeof text));
    }
}

static void add_model(writing *out, int64_t model)
{
    char buffer[32];
    if (model < 0 || model >= AEGIS_TRACE_NONE) {
        add(out, "no model");
        return;
    }
    add(out, "%s", aegis_trace_file_model_name(out->file, (uint16_t)model, buffer, sizeof buffer));
}

static void add_subject(writing *out)
{
    if (out->record->job == 0) {
        add_model(out, out->record->model);
        return;
    }
    if (out->record->model != AEGIS_TRACE_NONE) {
        add_model(out, out->record->model);
        add(out, " ");
    }
    add(out, "job %" PRIu64, out->record->job);
}

static void add_lane(writing *out)
{
    if (out->record->lane == AEGIS_TRACE_NONE) {
        add(out, "?");
    } else {
        add(out, "%u", out->record->lane);
    }
}

static void add_admission_step(writing *out, int64_t step)
{
    static const char *const names[] = {"load",    "wrap", "profile", "request", "analyse",
                                        "context", "plan", "pool",    "record"};
    bool is_known = step >= 1 && step <= (int64_t)AEGIS_ARRAY_LENGTH(names);
    add(out, "%s", is_known ? names[step - 1] : "unknown");
}

static void add_mark(writing *out, int64_t mark)
{
    if (mark == 0 || mark == 1) {
        add(out, "%s", mark == 0 ? "started" : "stopped");
    } else {
        add(out, "passed mark %" PRId64, mark);
    }
}

/* One of `count` words, or the number when there is none for it. */
static void add_word(writing *out, const char *const *words, size_t count, int64_t value)
{
    if (value >= 0 && value < (int64_t)count) {
        add(out, "%s", words[value]);
    } else {
        add(out, "%" PRId64, value);
    }
}

/* aegis_pressure_policy and aegis_memory_class, which are of a layer above. */
static void add_pressure_policy(writing *out, int64_t policy)
{
    static const char *const words[] = {"report", "newest", "largest", "smallest-enough"};
    add_word(out, words, AEGIS_ARRAY_LENGTH(words), policy);
}

static void add_memory_class(writing *out, int64_t memory_class)
{
    static const char *const words[] = {"weights",    "prepacked", "state", "input", "output",
                                        "activation", "boundary",  "spill", "paged"};
    add_word(out, words, AEGIS_ARRAY_LENGTH(words), memory_class);
}

static void add_bytes(writing *out, int64_t bytes)
{
    char text[64];
    if (bytes < 0) {
        add(out, "none");
    } else {
        add(out, "%s", aegis_format_size((uint64_t)bytes, text, sizeof text));
    }
}

static void add_counter_value(writing *out, int64_t value)
{
    if (out->record->a == AEGIS_COUNTER_MEMORY_BYTES) {
        add_bytes(out, value);
    } else if (out->record->a == AEGIS_COUNTER_TEMPERATURE_MILLIDEGREES) {
        add(out, "%.1f degrees Celsius", (double)value / 1e3);
    } else {
        add(out, "%" PRId64, value);
    }
}

/* A status or category from a file can be any number; the tables answer "unknown" to most, and an
 * enum must not hold what its type cannot. */
static aegis_status status_of(int64_t value)
{
    return value >= 0 && value <= AEGIS_ERROR_INTERNAL ? (aegis_status)value : AEGIS_ERROR_INTERNAL;
}

static void add_status(writing *out, int64_t value)
{
    if (value != status_of(value)) {
        add(out, "%" PRId64, value);
    } else {
        add(out, "%s", aegis_status_name(status_of(value)));
    }
}

static void add_category(writing *out, int64_t value)
{
    if (value < AEGIS_CATEGORY_NONE || value > AEGIS_CATEGORY_FATAL) {
        add(out, "category %" PRId64, value);
    } else {
        add(out, "%s", aegis_error_category_name((aegis_error_category)value));
    }
}

static void add_operand(writing *out, int64_t value, char form)
{
    char text[64];
    switch (form) {
    case 't':
        add(out, "%s", value < 0 ? "-" : "");
        add_instant(out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
        break;
    case 'u':
        add(out, "%s", value == 0 ? "as admitted" : "at ");
        if (value != 0) {
            add_instant(out, (uint64_t)value);
        }
        break;
    case 'd':
        add(out, "%s", aegis_format_duration(value, text, sizeof text));
        break;
    case 'b':
        add_bytes(out, value);
        break;
    case 'p':
        add(out, "%.2f %%", (double)value / 1e4);
        break;
    case 'm':
        add_model(out, value);
        break;
    case 's':
        add_status(out, value);
        break;
    case 'c':
        add_category(out, value);
        break;
    case 'a':
        add_admission_step(out, value);
        break;
    case 'r':
        add_mark(out, value);
        break;
    case 'y':
        add_pressure_policy(out, value);
        break;
    case 'w':
        add_memory_class(out, value);
        break;
    case 'k':
        add(out, "%s", aegis_trace_counter_name(value));
        break;
    case 'v':
        add_counter_value(out, value);
        break;
    default:
        add(out, "%" PRId64, value);
        break;
    }
}

static void add_field(writing *out, char field)
{
    const aegis_trace_record *record = out->record;
    switch (field) {
    case 'm':
        add_model(out, record->model);
        break;
    case 'j':
        add_subject(out);
        break;
    case 'b':
        add_operand(out, (int64_t)record->job, 'd');
        break;
    case 'l':
        add_lane(out);
        break;
    case 't':
        add_instant(out, record->time_ns);
        break;
    case 'o':
        if (record->lane != AEGIS_TRACE_NONE) {
            add(out, " on lane %u", record->lane);
        }
        break;
    case 'f':
        if (record->model != AEGIS_TRACE_NONE) {
            add(out, " of ");
            add_model(out, record->model);
        }
        break;
    case 'g':
        if (record->a > 0) {
            add(out, " segment %" PRId64, record->a);
        }
        break;
    default: /* 'w' */
        add(out, "%s", aegis_rationale_sentence((aegis_rationale)record->rationale));
        break;
    }
}

static const char *find_sentence(const aegis_trace_record *record)
{
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(sentences); i++) {
        const sentence *s = &sentences[i];
        bool is_general = s->rationale == AEGIS_WHY_NONE;
        if ((unsigned)s->kind == record->kind &&
            (is_general || (unsigned)s->rationale == record->rationale)) {
            return s->text;
        }
    }
    return NULL;
}

static void expand(writing *out, const char *text)
{
    while (*text != '\0') {
        size_t plain = strcspn(text, "$");
        add(out, "%.*s", (int)plain, text);
        text += plain;
        if (*text == '\0') {
            break;
        }
        if (text[1] >= '1' && text[1] <= '4') {
            unsigned index = (unsigned)(text[1] - '1');
            add_operand(out, aegis_trace_operand_value(out->record, index), text[2]);
            text += 3;
        } else {
            add_field(out, text[1]);
            text += 2;
        }
    }
}

const char *aegis_trace_file_describe(const aegis_trace_file *file,
                                      const aegis_trace_record *record,
                                      char *buffer,
                                      size_t size)
{
    if (size == 0) {
        return buffer;
    }
    buffer[0] = '\0';
    writing out = {.file = file, .record = record, .buffer = buffer, .size = size};
    const char *text = find_sentence(record);
    if (text == NULL) {
        add(&out, "a record of unknown kind %u at ", record->kind);
        add_instant(&out, record->time_ns);
    } else {
        expand(&out, text);
    }
    aegis_trace_trim_text(buffer);
    return buffer;
}
