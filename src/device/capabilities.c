/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/device.h>

static uint64_t choose(uint64_t derived, uint64_t measured, aegis_figure_source *ret_source)
{
    aegis_figure_source source = AEGIS_FIGURE_UNKNOWN;
    uint64_t figure = 0;
    if (derived > 0) {
        figure = derived;
        source = AEGIS_FIGURE_DERIVED;
    }
    if (measured > figure) {
        figure = measured;
        source = AEGIS_FIGURE_MEASURED;
    }
    if (ret_source != NULL) {
        *ret_source = source;
    }
    return figure;
}

static uint64_t positive(int value)
{
    return value > 0 ? (uint64_t)value : 0;
}

uint64_t aegis_device_theoretical_bandwidth(const aegis_device_capabilities *capabilities,
                                            aegis_figure_source *ret_source)
{
    /* kHz < 2^31 and bits < 2^31: the product times 2 * 1000 / 8 stays below 2^64 for any real bus
     * (2^31 kHz at 2^24 bits would be the limit). */
    uint64_t derived = positive(capabilities->memory_clock_khz) * 1000u * 2u *
                       positive(capabilities->memory_bus_width_bits) / 8u;
    return choose(derived, capabilities->measured_bandwidth_bytes_per_second, ret_source);
}

uint64_t aegis_device_theoretical_flops(const aegis_device_capabilities *capabilities,
                                        aegis_figure_source *ret_source)
{
    uint64_t derived = 2u * positive(capabilities->fp32_lanes_per_multiprocessor) *
                       positive(capabilities->multiprocessor_count) *
                       positive(capabilities->core_clock_khz) * 1000u;
    return choose(derived, capabilities->measured_flops, ret_source);
}

const char *aegis_device_kind_name(aegis_device_kind kind)
{
    switch (kind) {
    case AEGIS_DEVICE_AUTO:
        return "auto";
    case AEGIS_DEVICE_HOST:
        return "host";
    case AEGIS_DEVICE_CUDA:
        return "cuda";
    }
    return "unknown";
}
