/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SIM_SCRIPTED_DEVICE_H
#define AEGIS_SIM_SCRIPTED_DEVICE_H

/**
 * @file scripted_device.h A device in virtual time, for tests and simulation.
 *
 * Nothing runs by itself: commands wait in their streams until the test makes a step. A step runs
 * the one command that can start earliest (ties: the stream created first) on the caller's thread
 * and moves the device's clock to that instant. A call takes the time that its stream was given as
 * cost, plus what its function spends. The same script gives the same order, always. Waiting calls
 * (synchronize, destroy) make the steps that they need. One thread at a time.
 */

#include <aegisrt/clock.h>
#include <aegisrt/device.h>

typedef struct aegis_scripted_device aegis_scripted_device;

typedef struct aegis_scripted_device_config {
    uint64_t arena_bytes;
    int stream_priorities;          /**< 0 means 1 */
    uint64_t copy_bytes_per_second; /**< 0: copies take no time */
} aegis_scripted_device_config;

/** @param ret_script borrowed, valid until the device is destroyed.
 * @return NO_MEMORY, INVALID_ARGUMENT. */
aegis_status aegis_scripted_device_create(const aegis_scripted_device_config *config,
                                          const aegis_allocator *allocator,
                                          aegis_device **ret_device,
                                          aegis_scripted_device **ret_script,
                                          aegis_error *err);

/** Makes one step: runs the next command, or lets the work end that ends first.
 * @return false when nothing is left to do. */
bool aegis_scripted_device_step(aegis_scripted_device *script);

/** Makes all steps up to and including `until_ns`, then sets the clock to it (never back).
 * @return how many. */
size_t aegis_scripted_device_advance(aegis_scripted_device *script, uint64_t until_ns);

/** When the next step would happen; false when there is none. */
bool aegis_scripted_device_next_ns(const aegis_scripted_device *script, uint64_t *ret_when_ns);

/** The device's virtual clock; starts at 0. Borrows `script`. */
aegis_clock aegis_scripted_device_clock(aegis_scripted_device *script);

/** What each later call in this stream takes. */
void aegis_scripted_stream_set_cost(aegis_stream *stream, uint64_t call_ns);

/** From within a function that a call runs: its stream is busy for `duration_ns` more. */
void aegis_scripted_device_spend(aegis_scripted_device *script, uint64_t duration_ns);

/** The `nth` operation from now on (1 is the next) is refused with `status`: creating a stream or
 * event, putting a command into a stream, a blocking copy. 0 switches it off. */
void aegis_scripted_device_fail_operation(aegis_scripted_device *script,
                                          uint64_t nth,
                                          aegis_status status);

/** The `nth` command that runs from now on fails with `status`, which its stream reports; a call's
 * function runs all the same. 0 switches it off. */
void aegis_scripted_device_fail_work(aegis_scripted_device *script,
                                     uint64_t nth,
                                     aegis_status status);

#endif
