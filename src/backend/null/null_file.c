/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/null/null.h"

#include <jansson.h>
#include <string.h>

#define COMPONENT "backend.null"
#define LARGEST_ALLOCATION (UINT64_C(1) << 40)
#define MOST_OPERATORS 4096

static aegis_status bad(aegis_error *err, const char *what)
{
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE, "%s", what);
}

static aegis_status no_memory(aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                           "no memory for a null model");
}

/* A non-negative number; an absent key leaves `ret_value` as it is. */
static bool read_number(const json_t *object, const char *key, uint64_t *ret_value)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL) {
        return true;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return false;
    }
    *ret_value = (uint64_t)json_integer_value(value);
    return true;
}

static bool read_dtype(const char *text, aegis_element *ret_element)
{
    for (int element = AEGIS_ELEMENT_F32; element <= AEGIS_ELEMENT_BOOL; element++) {
        if (text != NULL && strcmp(text, aegis_element_name((aegis_element)element)) == 0) {
            *ret_element = (aegis_element)element;
            return true;
        }
    }
    return false;
}

static aegis_status read_tensor(aegis_null_file *file,
                                const json_t *from,
                                aegis_surface_declaration *ret_tensor,
                                aegis_error *err)
{
    const char *name = json_string_value(json_object_get(from, "name"));
    const json_t *shape = json_object_get(from, "shape");
    if (name == NULL ||
        !read_dtype(json_string_value(json_object_get(from, "dtype")), &ret_tensor->element) ||
        !json_is_array(shape) || json_array_size(shape) > AEGIS_MAX_RANK) {
        return bad(
            err,
            "a tensor needs \"name\", \"dtype\" (f32, i64, ...) and \"shape\" (up to 8 numbers)");
    }
    ret_tensor->rank = (int)json_array_size(shape);
    for (int i = 0; i < ret_tensor->rank; i++) {
        const json_t *dimension = json_array_get(shape, (size_t)i);
        if (!json_is_null(dimension) &&
            (!json_is_integer(dimension) || json_integer_value(dimension) <= 0)) {
            return bad(err, "a dimension is a positive number, or null when it is free");
        }
        ret_tensor->shape[i] = json_is_null(dimension) ? -1 : json_integer_value(dimension);
    }
    ret_tensor->name = aegis_copy_text(&file->allocator, name);
    return ret_tensor->name != NULL ? AEGIS_OK : no_memory(err);
}

static aegis_status read_tensors(aegis_null_file *file,
                                 const json_t *from,
                                 aegis_surface_declaration **ret_tensors,
                                 size_t *ret_count,
                                 aegis_error *err)
{
    if (!json_is_array(from) || json_array_size(from) == 0) {
        return bad(err, "\"inputs\" and \"outputs\" are arrays of at least one tensor");
    }
    size_t count = json_array_size(from);
    *ret_tensors = aegis_allocate_zeroed(&file->allocator, count, sizeof **ret_tensors);
    if (*ret_tensors == NULL) {
        return no_memory(err);
    }
    *ret_count = count;
    for (size_t i = 0; i < count; i++) {
        aegis_status status = read_tensor(file, json_array_get(from, i), &(*ret_tensors)[i], err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    return AEGIS_OK;
}

/* Bytes of the segment's allocation `index`. */
static uint64_t allocated(const aegis_null_segment *segment, uint64_t index)
{
    uint64_t seen = 0;
    for (size_t i = 0; i < segment->step_count; i++) {
        if (segment->steps[i].kind == AEGIS_NULL_ALLOC && seen++ == index) {
            return segment->steps[i].operand;
        }
    }
    return 0;
}

static aegis_status read_step(const json_t *from,
                              aegis_null_segment *segment,
                              aegis_null_step *ret_step,
                              aegis_error *err)
{
    const json_t *spin = json_object_get(from, "spin");
    uint64_t operand = UINT64_MAX;
    if (json_is_string(spin)) {
        ret_step->kind = AEGIS_NULL_SPIN;
        return aegis_parse_duration(json_string_value(spin), &ret_step->operand, err);
    }
    bool alloc = json_object_get(from, "alloc") != NULL;
    if (!read_number(from, alloc ? "alloc" : "free", &operand) || operand > LARGEST_ALLOCATION) {
        return bad(err, "a step is {\"alloc\": bytes}, {\"free\": index} or {\"spin\": \"20us\"}");
    }
    if (!alloc && operand >= segment->allocation_count) {
        return bad(err, "a step frees what its segment has not allocated");
    }
    for (size_t i = 0; !alloc && i < segment->step_count; i++) {
        if (segment->steps[i].kind == AEGIS_NULL_FREE && segment->steps[i].operand == operand) {
            return bad(err, "a step frees an allocation a second time");
        }
    }
    *ret_step = (aegis_null_step){.kind = alloc ? AEGIS_NULL_ALLOC : AEGIS_NULL_FREE,
                                  .operand = operand,
                                  .bytes = alloc ? operand : allocated(segment, operand)};
    segment->allocation_count += alloc;
    return AEGIS_OK;
}

static aegis_status read_segment(aegis_null_file *file,
                                 const json_t *from,
                                 aegis_null_segment *segment,
                                 aegis_error *err)
{
    if (!json_is_array(from)) {
        return bad(err, "\"segments\" is an array of arrays of steps");
    }
    size_t count = json_array_size(from);
    segment->steps = aegis_allocate_zeroed(&file->allocator, count + 1, sizeof *segment->steps);
    if (segment->steps == NULL) {
        return no_memory(err);
    }
    segment->step_capacity = count + 1;
    for (size_t i = 0; i < count; i++) {
        aegis_null_step step = {.kind = AEGIS_NULL_SPIN};
        aegis_status status = read_step(json_array_get(from, i), segment, &step, err);
        if (status != AEGIS_OK) {
            return status;
        }
        segment->steps[segment->step_count++] = step;
    }
    return AEGIS_OK;
}

static aegis_status read_segments(aegis_null_file *file, const json_t *from, aegis_error *err)
{
    if (!json_is_array(from) || json_array_size(from) == 0) {
        return bad(err, "\"segments\" is an array of at least one segment");
    }
    file->segments =
        aegis_allocate_zeroed(&file->allocator, json_array_size(from), sizeof *file->segments);
    if (file->segments == NULL) {
        return no_memory(err);
    }
    file->segment_count = json_array_size(from);
    for (size_t i = 0; i < file->segment_count; i++) {
        aegis_status status = read_segment(file, json_array_get(from, i), &file->segments[i], err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    return AEGIS_OK;
}

static aegis_status
read_operator(const json_t *from, size_t index, size_t count, aegis_null_operator *ret_operator)
{
    const char *spin = json_string_value(json_object_get(from, "spin"));
    uint64_t bytes = 0, until = index + 1 < count ? index + 1 : index;
    uint64_t spin_ns = 0;
    if ((spin != NULL && aegis_parse_duration(spin, &spin_ns, NULL) != AEGIS_OK) ||
        (spin == NULL && json_object_get(from, "spin") != NULL) ||
        !read_number(from, "bytes", &bytes) || !read_number(from, "until", &until) ||
        bytes > LARGEST_ALLOCATION || until >= count || (until <= index && index + 1 < count)) {
        return AEGIS_ERROR_PARSE;
    }
    *ret_operator =
        (aegis_null_operator){.spin_ns = spin_ns, .bytes = bytes, .until = (size_t)until};
    return AEGIS_OK;
}

static aegis_status read_operators(aegis_null_file *file, const json_t *from, aegis_error *err)
{
    size_t count = json_array_size(from);
    if (!json_is_array(from) || count == 0 || count > MOST_OPERATORS) {
        return bad(err, "\"operators\" is an array of 1 to 4096 operators");
    }
    file->operators = aegis_allocate_zeroed(&file->allocator, count, sizeof *file->operators);
    if (file->operators == NULL) {
        return no_memory(err);
    }
    file->operator_count = count;
    for (size_t i = 0; i < count; i++) {
        if (read_operator(json_array_get(from, i), i, count, &file->operators[i]) != AEGIS_OK) {
            return bad(err, "an operator is {\"spin\": \"2ms\", \"bytes\": 4096, \"until\": 3}, "
                            "\"until\" being a later operator");
        }
    }
    return AEGIS_OK;
}

static aegis_status read_fault(const json_t *from, aegis_null_fault *ret_fault, aegis_error *err)
{
    static const char *const kinds[] = {"grow", "fail", "lose", "hang"};
    const char *kind = json_string_value(json_object_get(from, "kind"));
    uint64_t segment = 0, allocation = 0, operator_index = UINT64_MAX;
    ret_fault->trial = json_is_true(json_object_get(from, "trial"));
    ret_fault->run = 1;
    ret_fault->bytes = 64;
    if (!read_number(from, "run", &ret_fault->run) ||
        !read_number(from, "bytes", &ret_fault->bytes) || !read_number(from, "segment", &segment) ||
        !read_number(from, "allocation", &allocation) ||
        !read_number(from, "operator", &operator_index)) {
        return bad(err, "a fault has numbers for \"run\", \"segment\", \"operator\", "
                        "\"allocation\" and \"bytes\"");
    }
    ret_fault->operator_index = operator_index == UINT64_MAX ? -1 : (int64_t)operator_index;
    ret_fault->segment = (uint32_t)segment;
    ret_fault->allocation = (int64_t)allocation;
    for (size_t i = 0; kind != NULL && i < AEGIS_ARRAY_LENGTH(kinds); i++) {
        if (strcmp(kind, kinds[i]) == 0) {
            ret_fault->kind = (aegis_null_fault_kind)i;
            return AEGIS_OK;
        }
    }
    return bad(err, "the \"kind\" of a fault is grow, fail, lose or hang");
}

static aegis_status read_faults(aegis_null_file *file, const json_t *from, aegis_error *err)
{
    size_t count = json_array_size(from); /* 0 when absent */
    if (count == 0) {
        return AEGIS_OK;
    }
    file->faults = aegis_allocate_zeroed(&file->allocator, count, sizeof *file->faults);
    if (file->faults == NULL) {
        return no_memory(err);
    }
    file->fault_count = count;
    for (size_t i = 0; i < count; i++) {
        aegis_status status = read_fault(json_array_get(from, i), &file->faults[i], err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    return AEGIS_OK;
}

static aegis_status read_all(aegis_null_file *file, const json_t *root, aegis_error *err)
{
    aegis_status status =
        read_tensors(file, json_object_get(root, "inputs"), &file->inputs, &file->input_count, err);
    if (status == AEGIS_OK) {
        status = read_tensors(file, json_object_get(root, "outputs"), &file->outputs,
                              &file->output_count, err);
    }
    if (status == AEGIS_OK &&
        (!read_number(root, "weights_bytes", &file->weights_bytes) ||
         !read_number(root, "prepacked_bytes", &file->prepacked_bytes) ||
         file->weights_bytes > LARGEST_ALLOCATION || file->prepacked_bytes > LARGEST_ALLOCATION)) {
        status = bad(err, "\"weights_bytes\" and \"prepacked_bytes\" are numbers of bytes");
    }
    const json_t *operators = json_object_get(root, "operators");
    if (status == AEGIS_OK && operators != NULL && json_object_get(root, "segments") != NULL) {
        status = bad(err, "\"segments\" and \"operators\" are two ways to say the same; keep one");
    }
    if (status == AEGIS_OK) {
        status = operators != NULL ? read_operators(file, operators, err)
                                   : read_segments(file, json_object_get(root, "segments"), err);
    }
    return status == AEGIS_OK ? read_faults(file, json_object_get(root, "faults"), err) : status;
}

aegis_status aegis_null_file_parse(const char *bytes,
                                   size_t size,
                                   const char *path,
                                   const aegis_allocator *allocator,
                                   aegis_null_file *ret_file,
                                   aegis_error *err)
{
    json_error_t where;
    aegis_null_file file = {.allocator = *allocator};
    json_t *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE, "%s:%d:%d: %s", path,
                               where.line, where.column, where.text);
    }
    aegis_status status = read_all(&file, root, err);
    json_decref(root);
    if (status != AEGIS_OK) {
        aegis_error_prefix(err, "%s", path);
        aegis_null_file_finish(&file);
        return status;
    }
    *ret_file = file;
    return AEGIS_OK;
}

static void
finish_tensors(const aegis_null_file *file, aegis_surface_declaration *tensors, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        aegis_free_text(&file->allocator, (char *)tensors[i].name);
    }
    aegis_deallocate(&file->allocator, tensors, count, sizeof *tensors);
}

void aegis_null_file_finish(aegis_null_file *file)
{
    if (file->allocator.free == NULL) {
        return;
    }
    finish_tensors(file, file->inputs, file->input_count);
    finish_tensors(file, file->outputs, file->output_count);
    for (size_t i = 0; i < file->segment_count; i++) {
        aegis_deallocate(&file->allocator, file->segments[i].steps, file->segments[i].step_capacity,
                         sizeof *file->segments[i].steps);
    }
    aegis_deallocate(&file->allocator, file->segments, file->segment_count, sizeof *file->segments);
    aegis_deallocate(&file->allocator, file->operators, file->operator_count,
                     sizeof *file->operators);
    aegis_deallocate(&file->allocator, file->boundaries, file->boundary_count,
                     sizeof *file->boundaries);
    aegis_deallocate(&file->allocator, file->faults, file->fault_count, sizeof *file->faults);
    memset(file, 0, sizeof *file);
}
