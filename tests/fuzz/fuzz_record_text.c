// SPDX-License-Identifier: Apache-2.0
/*
 * Writes of metadata.txt: texts separated by NUL bytes, each merged with what the last one left; and the text
 * of the outcome reads back to the same record.
 */
#include "protocol/record_text.h"

#include "invariant.h"

static void check_text(const struct record *record)
{
    char text[RECORD_TEXT_MAX];
    size_t length = record_text_format(record, text, sizeof(text));
    char why[RECORD_TEXT_WHY_MAX];
    struct record fresh, again;
    uint32_t touched = 0;

    INVARIANT(length < sizeof(text) && text[length] == '\0');
    record_init(&fresh);
    fresh.round = record->round;
    fresh.change = record->change;
    INVARIANT(record_text_merge(&fresh, text, length, &again, &touched, why) == 0);
    INVARIANT(touched & RECORD_TOUCHED_FLAG);
    INVARIANT(memcmp(&again, record, sizeof(again)) == 0);
}

static void merge(struct record *current, const char *text, size_t length)
{
    char why[RECORD_TEXT_WHY_MAX] = "";
    struct record proposed = *current;
    uint32_t touched = 0;

    if (record_text_merge(current, text, length, &proposed, &touched, why) != 0) {
        INVARIANT(why[0] && memchr(why, '\0', sizeof(why)));
        for (const char *c = why; *c; c++)
            INVARIANT(*c >= ' ' && *c <= '~');
        INVARIANT(memcmp(&proposed, current, sizeof(proposed)) == 0);
        return;
    }
    check_merged(current, &proposed, touched);
    check_text(&proposed);
    *current = proposed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record current;
    const char *text = (const char *)data;

    record_init(&current);
    if (size)
        merge(&current, text, size);
    while (size) {
        const char *end = memchr(text, '\0', size);
        size_t length = end ? (size_t)(end - text) : size;
        /* A copy without room behind it, so that the sanitizer sees a read beyond the text. */
        char *copy = malloc(length ? length : 1);

        INVARIANT(copy != NULL);
        memcpy(copy, text, length);
        merge(&current, copy, length);
        free(copy);
        length += end != NULL;
        text += length;
        size -= length;
    }
    return 0;
}
