/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/json_pull_internal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_BYTES 64

/* The bytes of a number, as far as they could belong to one. */
static aegis_status
read_number_text(aegis_json_pull *pull, char text[NUMBER_BYTES], aegis_error *err)
{
    aegis_status status = aegis_json_expect(pull, AEGIS_JSON_NUMBER, err);
    size_t size = 0;
    while (status == AEGIS_OK) {
        int byte;
        status = aegis_json_look(pull, &byte, err);
        if (status != AEGIS_OK || byte <= 0 || strchr("+-.0123456789eE", byte) == NULL) {
            break;
        }
        if (size + 1 == NUMBER_BYTES) {
            return aegis_json_fail_here(pull, err, "a number of more than 63 characters");
        }
        text[size++] = (char)byte;
        pull->at++;
    }
    text[size] = '\0';
    return status;
}

static const char *past_digits(const char *text)
{
    return text + strspn(text, "0123456789");
}

/* The grammar of RFC 8259, section 6. */
static bool is_number(const char *text)
{
    text += *text == '-';
    const char *digits = past_digits(text);
    if (digits == text || (*text == '0' && digits > text + 1)) {
        return false;
    }
    text = digits;
    if (*text == '.') {
        digits = past_digits(text + 1);
        if (digits == text + 1) {
            return false;
        }
        text = digits;
    }
    if (*text == 'e' || *text == 'E') {
        text++;
        text += *text == '+' || *text == '-';
        digits = past_digits(text);
        if (digits == text) {
            return false;
        }
        text = digits;
    }
    return *text == '\0';
}

aegis_status aegis_json_pull_unsigned(aegis_json_pull *pull, uint64_t *ret, aegis_error *err)
{
    char text[NUMBER_BYTES] = "";
    aegis_status status = read_number_text(pull, text, err);
    if (status != AEGIS_OK) {
        return status;
    }
    errno = 0;
    unsigned long long number = strtoull(text, NULL, 10);
    if (!is_number(text) || *past_digits(text) != '\0' || errno != 0) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err,
                                    "%s is not a whole number from 0 to 2^64 - 1", text);
    }
    *ret = number;
    return AEGIS_OK;
}

aegis_status aegis_json_pull_number(aegis_json_pull *pull, double *ret, aegis_error *err)
{
    char text[NUMBER_BYTES] = "";
    aegis_status status = read_number_text(pull, text, err);
    if (status != AEGIS_OK) {
        return status;
    }
    double number = is_number(text) ? strtod(text, NULL) : (double)NAN;
    if (!isfinite(number)) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err, "%s is not a number", text);
    }
    *ret = number;
    return AEGIS_OK;
}

aegis_status aegis_json_skip_number(aegis_json_pull *pull, aegis_error *err)
{
    char text[NUMBER_BYTES] = "";
    aegis_status status = read_number_text(pull, text, err);
    if (status == AEGIS_OK && !is_number(text)) {
        status = aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err, "%s is not a number", text);
    }
    return status;
}
