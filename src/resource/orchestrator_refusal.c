/* SPDX-License-Identifier: Apache-2.0 */

/* Why a model does not fit: the record, and the sentence made from it. */

#include "orchestrator_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Room for the parts of the sentence; the error record cuts off what is longer. */
typedef struct sentence {
    char text[AEGIS_ERROR_MESSAGE_BYTES];
    size_t length;
} sentence;

static void say(sentence *s, const char *format, ...) AEGIS_PRINTF(2, 3);

static void say(sentence *s, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(s->text + s->length, sizeof s->text - s->length, format, arguments);
    va_end(arguments);
    s->length += more > 0 ? (size_t)more : 0;
    s->length = s->length < sizeof s->text ? s->length : sizeof s->text - 1;
}

static aegis_memory_refusal start_record(const aegis_model_plan *m, aegis_status status)
{
    aegis_memory_refusal r = {.status = status,
                              .model = m->binding.model,
                              .peak_segment = m->peak_segment,
                              .peak_at = m->peak_at,
                              .peak_bytes = m->peak_bytes,
                              .peak_count = m->peak_count};
    memcpy(r.by_class, m->by_class, sizeof r.by_class);
    memcpy(r.peak_tensors, m->peak_tensors, sizeof r.peak_tensors);
    memcpy(r.peak_tensor_bytes, m->peak_tensor_bytes, sizeof r.peak_tensor_bytes);
    return r;
}

static void say_peak(sentence *s, const aegis_memory_refusal *r)
{
    if (r->peak_count == 0) {
        return;
    }
    say(s,
        "; activations peak at event %" PRId64 " of segment %" PRIu32 " with %" PRIu64 " bytes (",
        r->peak_at, r->peak_segment, r->peak_bytes);
    for (size_t i = 0; i < r->peak_count; i++) {
        say(s, "%stensor %" PRIu32 ": %" PRIu64, i == 0 ? "" : ", ", r->peak_tensors[i],
            r->peak_tensor_bytes[i]);
    }
    say(s, ")");
}

static aegis_status finish(aegis_memory_orchestrator *o,
                           const aegis_memory_refusal *r,
                           const sentence *s,
                           aegis_error *err)
{
    o->refusal = *r;
    o->refused = true;
    return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"), r->status, "%s", s->text);
}

aegis_status aegis_refuse_budget(aegis_memory_orchestrator *o,
                                 const aegis_model_plan *m,
                                 uint64_t limit_bytes,
                                 aegis_error *err)
{
    aegis_memory_refusal r = start_record(m, AEGIS_ERROR_BUDGET_EXCEEDED);
    r.need_bytes = m->binding.total_bytes;
    r.capacity_bytes = r.free_bytes = limit_bytes;
    r.missing_bytes = r.need_bytes - limit_bytes;
    int largest = 0;
    for (int c = 1; c < AEGIS_MEMORY_CLASS_COUNT; c++) {
        largest = r.by_class[c] > r.by_class[largest] ? c : largest;
    }
    sentence s = {.length = 0};
    say(&s, "model '%s' needs %" PRIu64 " bytes, its limit is %" PRIu64 ": %" PRIu64 " too many; ",
        m->name, r.need_bytes, limit_bytes, r.missing_bytes);
    const char *comma = "";
    for (int c = 0; c < AEGIS_MEMORY_CLASS_COUNT; c++) {
        if (r.by_class[c] > 0) {
            say(&s, "%s%s %" PRIu64, comma, aegis_memory_class_name((aegis_memory_class)c),
                r.by_class[c]);
            comma = ", ";
        }
    }
    say(&s, "; most of it is %s: raise the limit or shrink that",
        aegis_memory_class_name((aegis_memory_class)largest));
    return finish(o, &r, &s, err);
}

/* Whether everything would fit if it were laid out anew with the model, which then may read packed
 * copies that are there already. */
static bool fits_anew(const aegis_memory_orchestrator *o, const aegis_model_plan *m)
{
    return aegis_layout_end(o, NULL, m) - m->unjoined_bytes <= o->config.capacity_bytes;
}

/* Whether the refused model would fit if `gone` were removed. */
static bool
fits_without(const aegis_memory_orchestrator *o, const aegis_model_plan *gone, aegis_model_plan *m)
{
    if (!o->sealed) {
        return aegis_layout_end(o, gone, m) <= o->config.capacity_bytes;
    }
    uint64_t largest;
    return aegis_layout_find_holes(o, gone, m, &largest);
}

static void find_model_to_remove(const aegis_memory_orchestrator *o,
                                 aegis_model_plan *m,
                                 aegis_memory_refusal *r,
                                 sentence *s)
{
    uint64_t planned = aegis_layout_planned(o, NULL), least = UINT64_MAX;
    const aegis_model_plan *named = NULL;
    for (size_t i = 0; i < o->count; i++) {
        uint64_t frees = planned - aegis_layout_planned(o, o->models[i]);
        if (frees < least && fits_without(o, o->models[i], m)) {
            least = frees;
            named = o->models[i];
        }
    }
    if (named != NULL) {
        r->has_model_to_remove = true;
        r->model_to_remove = named->binding.model;
        say(s, "; it would fit without model '%s' (%" PRIu32 ")", named->name,
            named->binding.model);
    } else if (o->count > 0) {
        say(s, "; removing any one model would not be enough");
    }
}

static aegis_status refuse_need(aegis_memory_orchestrator *o,
                                aegis_model_plan *m,
                                aegis_memory_refusal *r,
                                const char *free_name,
                                aegis_error *err)
{
    r->capacity_bytes = o->config.capacity_bytes;
    /* Alignment can ask for more than the sum. */
    r->missing_bytes = r->need_bytes > r->free_bytes ? r->need_bytes - r->free_bytes : 1;
    uint64_t added = aegis_layout_added(o, m), own = m->binding.permanent_bytes;
    sentence s = {.length = 0};
    say(&s,
        "model '%s' is %" PRIu64 " bytes short: it adds %" PRIu64 " (%" PRIu64
        " of its own, activations of height %" PRIu64 " on lane %u), %s %" PRIu64 " of %" PRIu64,
        m->name, r->missing_bytes, r->need_bytes, added, m->binding.activation_height,
        m->binding.lane, free_name, r->free_bytes, r->capacity_bytes);
    if (m->binding.paged_bytes > 0) {
        say(&s, "; it pages %" PRIu64 " bytes", m->binding.paged_bytes);
    }
    if (own + m->binding.shared_bytes > added) {
        say(&s, "; %" PRIu64 " more of its weights are there already",
            own + m->binding.shared_bytes - added);
    }
    r->fits_after_moving = o->sealed && fits_anew(o, m);
    if (r->fits_after_moving) {
        say(&s, "; the holes together are large enough: it would fit after compaction, which moves "
                "models and therefore waits for the caller");
    }
    find_model_to_remove(o, m, r, &s);
    say_peak(&s, r);
    return finish(o, r, &s, err);
}

aegis_status aegis_refuse_arena(aegis_memory_orchestrator *o, aegis_model_plan *m, aegis_error *err)
{
    aegis_memory_refusal r = start_record(m, AEGIS_ERROR_NO_MEMORY);
    uint64_t end = aegis_layout_end(o, NULL, NULL);
    r.need_bytes = aegis_layout_end(o, NULL, m) - end;
    r.free_bytes = o->config.capacity_bytes - end;
    return refuse_need(o, m, &r, "free are", err);
}

aegis_status aegis_refuse_hole(aegis_memory_orchestrator *o,
                               aegis_model_plan *m,
                               uint64_t largest_hole,
                               aegis_error *err)
{
    aegis_memory_refusal r = start_record(m, AEGIS_ERROR_NO_MEMORY);
    r.need_bytes = aegis_layout_added(o, m);
    r.free_bytes = largest_hole;
    return refuse_need(o, m, &r, "the largest hole has", err);
}

/* A region that is too small is no obstacle when everything is laid out anew. */
static void say_anew(const aegis_memory_orchestrator *o,
                     const aegis_model_plan *m,
                     aegis_memory_refusal *r,
                     sentence *s)
{
    r->fits_after_moving = fits_anew(o, m);
    if (r->fits_after_moving) {
        say(s, "; laid out anew with it everything would fit, which moves models and therefore "
               "waits for the caller");
    }
}

aegis_status
aegis_refuse_region(aegis_memory_orchestrator *o, const aegis_model_plan *m, aegis_error *err)
{
    const aegis_lane_region *lane = &o->lanes[m->binding.lane];
    aegis_memory_refusal r = start_record(m, AEGIS_ERROR_NO_MEMORY);
    r.lane_region = true;
    r.need_bytes = m->binding.activation_height;
    r.capacity_bytes = r.free_bytes = lane->size;
    r.missing_bytes = r.need_bytes > lane->size ? r.need_bytes - lane->size : 0;
    sentence s = {.length = 0};
    if (r.missing_bytes > 0) {
        say(&s,
            "model '%s' is %" PRIu64 " bytes short: its activations need %" PRIu64
            " (proved: %" PRIu64 "), the region of lane %u has %" PRIu64
            " and is fixed since the seal: plan it before, or on another lane",
            m->name, r.missing_bytes, r.need_bytes, m->binding.activation_lower_bound,
            m->binding.lane, lane->size);
        say_anew(o, m, &r, &s);
    } else {
        say(&s,
            "model '%s' wants activations aligned to %" PRIu64
            ", the region of lane %u starts at %" PRIu64
            " and is fixed since the seal: plan it before",
            m->name, m->activation_alignment, m->binding.lane, lane->offset);
    }
    say_peak(&s, &r);
    return finish(o, &r, &s, err);
}

aegis_status
aegis_refuse_paged(aegis_memory_orchestrator *o, const aegis_model_plan *m, aegis_error *err)
{
    const aegis_lane_region *lane = &o->lanes[m->binding.lane];
    aegis_memory_refusal r = start_record(m, AEGIS_ERROR_NO_MEMORY);
    r.lane_region = true;
    r.need_bytes = m->binding.paged_bytes;
    r.capacity_bytes = r.free_bytes = lane->paged_size;
    r.missing_bytes = r.need_bytes > lane->paged_size ? r.need_bytes - lane->paged_size : 0;
    sentence s = {.length = 0};
    say(&s,
        "model '%s' pages %" PRIu64 " bytes, aligned to %" PRIu64
        ", the paged region of lane %u has %" PRIu64 " at %" PRIu64
        " and is fixed since the seal: plan it before, or make it resident",
        m->name, r.need_bytes, m->paged_alignment, m->binding.lane, lane->paged_size,
        lane->paged_offset);
    say_anew(o, m, &r, &s);
    return finish(o, &r, &s, err);
}
