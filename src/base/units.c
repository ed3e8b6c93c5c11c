/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes and durations as people write them, in exact integer arithmetic. */
#include "base/base.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct unit {
    const char *name;
    uint64_t factor;
} unit;

static const unit size_units[] = {
    {"", 1},
    {"B", 1},
    {"K", UINT64_C(1) << 10},
    {"KiB", UINT64_C(1) << 10},
    {"M", UINT64_C(1) << 20},
    {"MiB", UINT64_C(1) << 20},
    {"G", UINT64_C(1) << 30},
    {"GiB", UINT64_C(1) << 30},
};

static const unit duration_units[] = {
    {"ns", 1},
    {"us", AEGIS_NS_PER_US},
    {"ms", AEGIS_NS_PER_MS},
    {"s", AEGIS_NS_PER_S},
};

/* Digits with an optional fraction, exactly: value = digits * factor / 10^decimals, which must be a
 * whole number. */
static bool scale(uint64_t digits, unsigned decimals, uint64_t factor, uint64_t *ret_value)
{
    aegis_u128 product = (aegis_u128)digits * factor;
    for (; decimals > 0; decimals--) {
        if (product % 10 != 0) {
            return false;
        }
        product /= 10;
    }
    if (product > UINT64_MAX) {
        return false;
    }
    *ret_value = (uint64_t)product;
    return true;
}

static bool parse(const char *text, const unit *units, size_t count, uint64_t *ret_value)
{
    uint64_t digits = 0;
    unsigned decimals = 0;
    bool any = false, point = false;
    const char *at = text;
    for (; isdigit((unsigned char)*at) || (*at == '.' && !point); at++) {
        if (*at == '.') {
            point = true;
            continue;
        }
        if (__builtin_mul_overflow(digits, 10, &digits) ||
            __builtin_add_overflow(digits, (uint64_t)(*at - '0'), &digits)) {
            return false;
        }
        decimals += point;
        any = true;
    }
    while (*at == ' ') {
        at++;
    }
    for (size_t i = 0; any && i < count; i++) {
        if (strcmp(at, units[i].name) == 0) {
            return scale(digits, decimals, units[i].factor, ret_value);
        }
    }
    return false;
}

aegis_status aegis_parse_size(const char *text, uint64_t *ret_bytes, aegis_error *err)
{
    if (!parse(text, size_units, AEGIS_ARRAY_LENGTH(size_units), ret_bytes)) {
        return aegis_error_set(err, AEGIS_HERE("base.units"), AEGIS_ERROR_CONFIG,
                               "\"%s\" is not a size: write a whole number of bytes, or a number "
                               "with B, KiB, MiB, GiB, K, M or G, such as \"64MiB\"",
                               text);
    }
    return AEGIS_OK;
}

aegis_status aegis_parse_duration(const char *text, uint64_t *ret_ns, aegis_error *err)
{
    if (!parse(text, duration_units, AEGIS_ARRAY_LENGTH(duration_units), ret_ns)) {
        return aegis_error_set(
            err, AEGIS_HERE("base.units"), AEGIS_ERROR_CONFIG,
            "\"%s\" is not a duration: write a number with ns, us, ms or s, such "
            "as \"200ms\"",
            text);
    }
    return AEGIS_OK;
}

const char *aegis_format_size(uint64_t bytes, char *buffer, size_t size)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t i = 0;
    while (value >= 1024.0 && i + 1 < AEGIS_ARRAY_LENGTH(names)) {
        value /= 1024.0;
        i++;
    }
    if (i == 0) {
        snprintf(buffer, size, "%" PRIu64 " B", bytes);
    } else {
        snprintf(buffer, size, "%.*f %s", value < 10 ? 2 : value < 100 ? 1 : 0, value, names[i]);
    }
    return buffer;
}

const char *aegis_format_duration(int64_t ns, char *buffer, size_t size)
{
    double value = (double)ns, magnitude = value < 0 ? -value : value;
    const char *name = "ns";
    if (magnitude >= 1e9) {
        value /= 1e9;
        name = "s";
    } else if (magnitude >= 1e6) {
        value /= 1e6;
        name = "ms";
    } else if (magnitude >= 1e3) {
        value /= 1e3;
        name = "us";
    } else {
        snprintf(buffer, size, "%" PRId64 " ns", ns);
        return buffer;
    }
    magnitude = value < 0 ? -value : value;
    snprintf(buffer, size, "%.*f %s", magnitude < 10 ? 2 : magnitude < 100 ? 1 : 0, value, name);
    return buffer;
}
