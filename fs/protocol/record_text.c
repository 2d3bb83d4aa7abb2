// SPDX-License-Identifier: Apache-2.0
#include "protocol/record_text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum key {
    KEY_FLAG,
    KEY_DTYPE,
    KEY_INPUT_LENGTH,
    KEY_INPUT_SHAPE,
    KEY_INPUT_ORDER,
    KEY_INPUT_LOGICAL,
    KEY_RESULT_DTYPE,
    KEY_RESULT_LENGTH,
    KEY_RESULT_SHAPE,
    KEY_RESULT_ORDER,
    KEY_RESULT_LOGICAL,
    KEY_READ_ONLY,
};

static const struct {
    const char *name;
    enum key key;
} keys[] = {
    {"flag", KEY_FLAG},
    {"dtype", KEY_DTYPE},
    {"input_length", KEY_INPUT_LENGTH},
    {"input_shape", KEY_INPUT_SHAPE},
    {"input_order", KEY_INPUT_ORDER},
    {"input_logical", KEY_INPUT_LOGICAL},
    {"result_dtype", KEY_RESULT_DTYPE},
    {"result_length", KEY_RESULT_LENGTH},
    {"result_shape", KEY_RESULT_SHAPE},
    {"result_order", KEY_RESULT_ORDER},
    {"result_logical", KEY_RESULT_LOGICAL},
    {"state", KEY_READ_ONLY},
    {"meaning", KEY_READ_ONLY},
    {"round", KEY_READ_ONLY},
    {"change", KEY_READ_ONLY},
    {"task_change", KEY_READ_ONLY},
    {"input_inline", KEY_READ_ONLY},
    {"result_inline", KEY_READ_ONLY},
    {"data_size", KEY_READ_ONLY},
    {"result_size", KEY_READ_ONLY},
    {"data_copied", KEY_READ_ONLY},
    {"result_copied", KEY_READ_ONLY},
    {"data_in_place", KEY_READ_ONLY},
    {"result_in_place", KEY_READ_ONLY},
    {"input_entries", KEY_READ_ONLY},
    {"result_entries", KEY_READ_ONLY},
    {"job", KEY_READ_ONLY},
    {"owner", KEY_READ_ONLY},
    {"worker", KEY_READ_ONLY},
    {"source", KEY_READ_ONLY},
    {"since", KEY_READ_ONLY},
    {"open", KEY_READ_ONLY},
    {"open_more", KEY_READ_ONLY},
    {"waiting", KEY_READ_ONLY},
    {"waiting_more", KEY_READ_ONLY},
    {"failure", KEY_READ_ONLY},
    {"refused", KEY_READ_ONLY},
    {"refusals", KEY_READ_ONLY},
};

static const char *flag_meaning(int32_t flag)
{
    switch ((enum record_flag)flag) {
    case RECORD_FLAG_NONE:
        return "no input yet";
    case RECORD_FLAG_INPUT:
        return "input ready, for the consumer";
    case RECORD_FLAG_RESULT:
        return "result ready, for the producer";
    case RECORD_FLAG_FAILED:
        return "failed, see error";
    }
    return "unknown";
}

enum { SHAPE_TEXT_MAX = RECORD_NDIM_MAX * 21 + 1 };

static const char *shape_format(char buffer[SHAPE_TEXT_MAX], int32_t ndim, const int64_t *shape)
{
    char *end = buffer;

    *end = '\0';
    for (int32_t i = 0; i < ndim && i < RECORD_NDIM_MAX; i++)
        end += sprintf(end, "%s%" PRId64, i ? "x" : "", shape[i]);
    return buffer;
}

static char order_letter(const struct record *record, uint32_t bit)
{
    return record->order & bit ? 'F' : 'C';
}

static const char *yes_or_no(const struct record *record, uint32_t bit)
{
    return record->order & bit ? "yes" : "no";
}

size_t record_text_format(const struct record *record, char *buffer, size_t capacity)
{
    char input_shape[SHAPE_TEXT_MAX], result_shape[SHAPE_TEXT_MAX];
    int length;

    length =
        snprintf(buffer, capacity,
                 "flag=%" PRId32 "\nmeaning=%s\nround=%" PRIu64 "\nchange=%" PRIu32 "\n"
                 "task_change=%" PRIu32 "\n"
                 "dtype=%s\ninput_length=%" PRId64
                 "\ninput_shape=%s\ninput_order=%c\ninput_logical=%s\ninput_inline=%u\n"
                 "result_dtype=%s\nresult_length=%" PRId64 "\nresult_shape=%s\nresult_order=%c\n"
                 "result_logical=%s\nresult_inline=%u\n",
                 record->flag, flag_meaning(record->flag), record->round, record->change, record->task_change,
                 record_dtype_name(record->dtype), record->input_length,
                 shape_format(input_shape, record->input_ndim, record->input_shape),
                 order_letter(record, RECORD_ORDER_INPUT_F), yes_or_no(record, RECORD_ORDER_INPUT_LOGICAL),
                 record->input_inline, record_dtype_name(record->result_dtype), record->result_length,
                 shape_format(result_shape, record->result_ndim, record->result_shape),
                 order_letter(record, RECORD_ORDER_RESULT_F), yes_or_no(record, RECORD_ORDER_RESULT_LOGICAL),
                 record->result_inline);
    return length > 0 ? (size_t)length : 0;
}

/*
 * Reads a decimal number and moves *text behind it. Allows digits and a minus sign, no blanks, no plus sign.
 */
static int number_parse(const char **text, int64_t *value)
{
    const char *digit = *text;
    int64_t sign = 1, number = 0;

    if (*digit == '-') {
        sign = -1;
        digit++;
    }
    if (*digit < '0' || *digit > '9')
        return -EINVAL;
    for (; *digit >= '0' && *digit <= '9'; digit++) {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, sign * (*digit - '0'), &number))
            return -EINVAL;
    }
    *text = digit;
    *value = number;
    return 0;
}

static int length_parse(const char *value, int64_t *length)
{
    int error = number_parse(&value, length);

    return error || *value ? -EINVAL : 0;
}

static int flag_parse(const char *value, int32_t *flag)
{
    int64_t number;

    if (length_parse(value, &number) || number < RECORD_FLAG_NONE || number > RECORD_FLAG_FAILED)
        return -EINVAL;
    *flag = (int32_t)number;
    return 0;
}

static int dtype_parse(const char *value, int32_t *dtype)
{
    int32_t code = record_dtype_parse(value);

    if (code < 0)
        return code;
    *dtype = code;
    return 0;
}

static int shape_parse(const char *value, int32_t *ndim, int64_t shape[RECORD_NDIM_MAX])
{
    int32_t count = 0;

    memset(shape, 0, RECORD_NDIM_MAX * sizeof *shape);
    *ndim = 0;
    if (!*value)
        return 0;
    do {
        if (count == RECORD_NDIM_MAX || number_parse(&value, &shape[count]))
            return -EINVAL;
        count++;
    } while (*value++ == 'x');
    if (value[-1])
        return -EINVAL;
    *ndim = count;
    return 0;
}

/* Reads one bit of order, by the two words that stand for it. */
static int bit_parse(const char *value, const char *set, const char *clear, uint32_t *order, uint32_t bit)
{
    if (!strcmp(value, set))
        *order |= bit;
    else if (!strcmp(value, clear))
        *order &= ~bit;
    else
        return -EINVAL;
    return 0;
}

const char *record_text_key(size_t n)
{
    return n < sizeof(keys) / sizeof(keys[0]) ? keys[n].name : NULL;
}

static int key_find(const char *name, enum key *key)
{
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (!strcmp(name, keys[i].name)) {
            *key = keys[i].key;
            return 0;
        }
    }
    return -EINVAL;
}

static int key_apply(struct record *record, enum key key, const char *value)
{
    switch (key) {
    case KEY_FLAG:
        return flag_parse(value, &record->flag);
    case KEY_DTYPE:
        return dtype_parse(value, &record->dtype);
    case KEY_INPUT_LENGTH:
        return length_parse(value, &record->input_length);
    case KEY_INPUT_SHAPE:
        return shape_parse(value, &record->input_ndim, record->input_shape);
    case KEY_INPUT_ORDER:
        return bit_parse(value, "F", "C", &record->order, RECORD_ORDER_INPUT_F);
    case KEY_INPUT_LOGICAL:
        return bit_parse(value, "yes", "no", &record->order, RECORD_ORDER_INPUT_LOGICAL);
    case KEY_RESULT_DTYPE:
        return dtype_parse(value, &record->result_dtype);
    case KEY_RESULT_LENGTH:
        return length_parse(value, &record->result_length);
    case KEY_RESULT_SHAPE:
        return shape_parse(value, &record->result_ndim, record->result_shape);
    case KEY_RESULT_ORDER:
        return bit_parse(value, "F", "C", &record->order, RECORD_ORDER_RESULT_F);
    case KEY_RESULT_LOGICAL:
        return bit_parse(value, "yes", "no", &record->order, RECORD_ORDER_RESULT_LOGICAL);
    case KEY_READ_ONLY:
        return 0;
    }
    return -EINVAL;
}

/* Cuts the blanks from both ends, in place. */
static char *trim(char *text)
{
    size_t length;

    text += strspn(text, " \t");
    length = strlen(text);
    while (length && (text[length - 1] == ' ' || text[length - 1] == '\t'))
        length--;
    text[length] = '\0';
    return text;
}

/* Returns NULL or an error in words. Cuts the line into pieces. */
static const char *line_apply(struct record *record, char *line, uint32_t *seen)
{
    enum key key;
    char *value;

    line = trim(line);
    if (!*line || *line == '#')
        return NULL;
    value = strchr(line, '=');
    if (!value)
        return "it is not key=value";
    *value++ = '\0';
    if (key_find(trim(line), &key))
        return "metadata.txt has no such key";
    if (key != KEY_READ_ONLY && *seen & 1u << key)
        return "the key is given twice";
    *seen |= 1u << key;
    return key_apply(record, key, trim(value)) ? "the key has no such value" : NULL;
}

/*
 * Quotes as much of the line as fits. Keeps only printable ASCII: the quote goes into logs and UTF-8 texts.
 */
static void quote(char why[RECORD_TEXT_WHY_MAX], unsigned number, const char *line, size_t length,
                  const char *reason)
{
    snprintf(why, RECORD_TEXT_WHY_MAX, "line %u, '%.*s': %s", number, (int)(length < 48 ? length : 48), line,
             reason);
    for (; *why; why++) {
        if (*why < ' ' || *why > '~')
            *why = '?';
    }
}

int record_text_merge(const struct record *current, const char *text, size_t size, struct record *proposed,
                      uint32_t *touched, char why[RECORD_TEXT_WHY_MAX])
{
    char line[RECORD_TEXT_LINE_MAX + 1];
    struct record overlaid = *current;
    uint32_t seen = 0;
    int result;

    for (unsigned number = 1; size; number++) {
        const char *newline = memchr(text, '\n', size);
        size_t length = newline ? (size_t)(newline - text) : size;
        size_t taken = newline ? length + 1 : length;
        const char *reason = NULL;

        if (memchr(text, '\0', length)) {
            reason = "there is a NUL in it";
        } else if (length > RECORD_TEXT_LINE_MAX) {
            reason = "it is too long";
        } else {
            memcpy(line, text, length);
            line[length] = '\0';
            reason = line_apply(&overlaid, line, &seen);
        }
        if (reason) {
            quote(why, number, text, length, reason);
            return -EINVAL;
        }
        text += taken;
        size -= taken;
    }
    result = record_merge_end(current, &overlaid, seen & 1u << KEY_FLAG ? RECORD_TOUCHED_FLAG : 0, proposed,
                              touched);
    if (result)
        snprintf(why, RECORD_TEXT_WHY_MAX,
                 "the lines together are no record: see dtype, lengths, shapes, order");
    return result;
}
