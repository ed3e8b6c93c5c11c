/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cuda/cuda_end.h"

#include "device/cuda/cuda_device.h"

#include <aegisrt/clock.h>

#include <time.h>

/* A thread that sleeps to be back before an end goes so much earlier: timers come late, by 50 us
 * and more in virtual machines. */
#define EARLY_NS UINT64_C(120000)
/* Between two looks of a wait that may give up. */
#define NAP_NS 100000
/* Of a word, between two questions whether the work failed: some 0.1 ms. */
#define LOOKS_OF_WORD 65536u
/* And between two whether something else is to be done: some 0.1 us. */
#define LOOKS_BETWEEN 64u

static uint64_t now_ns(void)
{
    aegis_clock clock = aegis_clock_monotonic();
    return aegis_clock_now_ns(&clock);
}

static cudaError_t look(const aegis_cuda_end *end)
{
    if (end->word == NULL) {
        return cudaEventQuery(end->event);
    }
    uint32_t seen = atomic_load_explicit(end->word, memory_order_acquire);
    return (int32_t)(seen - end->value) >= 0 ? cudaSuccess : cudaErrorNotReady;
}

/* Whether work that has not ended has failed, or ended unseen. */
static cudaError_t look_closely(const aegis_cuda_end *end)
{
    return end->event != NULL ? cudaEventQuery(end->event) : cudaStreamQuery(end->handle);
}

static void do_meanwhile(const aegis_cuda_end *end)
{
    aegis_cuda_meanwhile *meanwhile = end->meanwhile;
    if (meanwhile == NULL || meanwhile->function == NULL) {
        return;
    }
    bool is_near = meanwhile->near_ns != 0 && now_ns() >= meanwhile->near_ns;
    if (is_near || (meanwhile->near_ns == 0 &&
                    atomic_load_explicit(&meanwhile->asked, memory_order_relaxed))) {
        meanwhile->near_ns = 0;
        atomic_store(&meanwhile->asked, false);
        meanwhile->function(meanwhile->argument);
    }
}

/* A word tells of no failure: now and then it is asked whether there was one. */
static cudaError_t poll_until(const aegis_cuda_end *end, uint64_t until_ns)
{
    cudaError_t code = cudaErrorNotReady;
    for (uint32_t looks = 1; code == cudaErrorNotReady; looks++) {
        code = look(end);
        if (code == cudaErrorNotReady && looks % LOOKS_OF_WORD == 0 && end->word != NULL) {
            code = look_closely(end);
        }
        if (code == cudaErrorNotReady && looks % LOOKS_BETWEEN == 1) {
            do_meanwhile(end);
        }
        if (code == cudaErrorNotReady && until_ns != UINT64_MAX && now_ns() >= until_ns) {
            break;
        }
    }
    if (code == cudaErrorNotReady) {
        (void)cudaGetLastError(); /* other users of CUDA would stumble on it */
    }
    return code;
}

static void sleep_until(uint64_t instant_ns)
{
    struct timespec until = {.tv_sec = (time_t)(instant_ns / 1000000000u),
                             .tv_nsec = (long)(instant_ns % 1000000000u)};
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

/* Sleeps while the end is far, polls from shortly before `expected_ns` to a quarter past it, and
 * leaves the rest to the interrupt: the event was created to block, not to spin. */
static cudaError_t wait_adaptively(const aegis_cuda_end *end, uint64_t expected_ns)
{
    uint64_t now = now_ns(), poll_end = now + AEGIS_CUDA_POLL_NS;
    bool has_more = end->meanwhile != NULL && end->meanwhile->function != NULL;
    uint64_t early_ns = EARLY_NS + (has_more ? AEGIS_STREAM_NEAR_NS : 0);
    if (expected_ns > now) {
        if (expected_ns - now > early_ns) {
            sleep_until(expected_ns - early_ns);
        }
        poll_end = expected_ns + (expected_ns - now) / 4 + AEGIS_CUDA_POLL_NS;
    }
    cudaError_t code = poll_until(end, poll_end);
    return code == cudaErrorNotReady ? cudaEventSynchronize(end->event) : code;
}

cudaError_t
aegis_cuda_end_wait(const aegis_cuda_end *end, aegis_completion completion, uint64_t expected_ns)
{
    switch (completion) {
    case AEGIS_COMPLETION_POLL:
        return poll_until(end, UINT64_MAX);
    case AEGIS_COMPLETION_ADAPTIVE:
        return wait_adaptively(end, expected_ns);
    case AEGIS_COMPLETION_BLOCK:
        break;
    }
    return cudaEventSynchronize(end->event);
}

cudaError_t aegis_cuda_end_wait_until(const aegis_cuda_end *end, uint64_t until_ns)
{
    uint64_t start = now_ns();
    cudaError_t code = poll_until(
        end, start + AEGIS_CUDA_POLL_NS < until_ns ? start + AEGIS_CUDA_POLL_NS : until_ns);
    while (code == cudaErrorNotReady && now_ns() < until_ns) {
        struct timespec nap = {.tv_nsec = NAP_NS};
        nanosleep(&nap, NULL);
        code = poll_until(end, 0);
    }
    return code;
}

/* ---- what is done meanwhile ---- */

void aegis_cuda_set_meanwhile(void *stream, aegis_stream_function function, void *argument)
{
    aegis_cuda_meanwhile *meanwhile = aegis_cuda_stream_meanwhile(stream);
    meanwhile->function = function;
    meanwhile->argument = argument;
    atomic_store(&meanwhile->asked, false);
}

void aegis_cuda_ask_meanwhile(void *stream)
{
    atomic_store(&aegis_cuda_stream_meanwhile(stream)->asked, true);
}
