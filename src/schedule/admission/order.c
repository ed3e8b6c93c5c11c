/* SPDX-License-Identifier: Apache-2.0 */
/* Orders of tasks: heap sort, in place and without memory, ties by index. */
#include "schedule/admission/internal.h"

typedef struct order_view {
    const void *tasks;
    aegis_order_key key;
    size_t *order;
} order_view;

static bool comes_after(const order_view *view, size_t a, size_t b)
{
    int64_t first = view->key(view->tasks, a), second = view->key(view->tasks, b);
    return first != second ? first > second : a > b;
}

static void sift_down(const order_view *view, size_t at, size_t count)
{
    size_t moving = view->order[at];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && comes_after(view, view->order[child + 1], view->order[child])) {
            child++;
        }
        if (!comes_after(view, view->order[child], moving)) {
            break;
        }
        view->order[at] = view->order[child];
    }
    view->order[at] = moving;
}

void aegis_order_by(const void *tasks, size_t count, aegis_order_key key, size_t *ret_order)
{
    order_view view = {tasks, key, ret_order};
    for (size_t i = 0; i < count; i++) {
        ret_order[i] = i;
    }
    for (size_t i = count / 2; i-- > 0;) {
        sift_down(&view, i, count);
    }
    for (size_t i = count; i-- > 1;) {
        size_t last = ret_order[0];
        ret_order[0] = ret_order[i];
        ret_order[i] = last;
        sift_down(&view, 0, i);
    }
}

static int64_t period_key(const void *tasks, size_t i)
{
    return ((const aegis_task *)tasks)[i].period;
}

static int64_t deadline_key(const void *tasks, size_t i)
{
    return ((const aegis_task *)tasks)[i].deadline;
}

void aegis_admission_order_rm(const aegis_task *tasks, size_t count, size_t *ret_order)
{
    aegis_order_by(tasks, count, period_key, ret_order);
}

void aegis_admission_order_dm(const aegis_task *tasks, size_t count, size_t *ret_order)
{
    aegis_order_by(tasks, count, deadline_key, ret_order);
}
