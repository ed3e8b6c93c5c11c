/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite of devices over the scripted one. */
#include "sim/scripted_device.h"
#include "support/device/conformance.h"

static aegis_status create(void *self,
                           uint64_t arena_bytes,
                           const aegis_allocator *allocator,
                           aegis_device **ret_device,
                           aegis_error *err)
{
    (void)self;
    aegis_scripted_device_config config = {
        .arena_bytes = arena_bytes, .stream_priorities = 3, .copy_bytes_per_second = 1000000000};
    aegis_scripted_device *script;
    return aegis_scripted_device_create(&config, allocator, ret_device, &script, err);
}

int main(void)
{
    conformance_target target = {.name = "scripted", .create = create, .manual = true};
    return conformance_run(&target, stdout) == 0 ? 0 : 1;
}
