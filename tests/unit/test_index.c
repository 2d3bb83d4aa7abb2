// SPDX-License-Identifier: Apache-2.0
/*
 * test_index.c - an index that is damaged: every byte, every length, every page.
 *
 * The index has a chain, inline arrays, a slot that was renamed, one that is gone. Each slot's last change was one
 * more refusal, so an entry that lost it shows that and nothing else.
 */
#include "arena_fixture.h"
#include "base/checksum.h"
#include "base/log.h"
#include "slot/index.h"
#include "slot/restore.h"
#include "slot/sound.h"
#include "slot/table.h"
#include "suite.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PAGE = 4096,
    LIMIT = 200,
    KEPT = 6, /* slots; their entries have these numbers and those above, 0 is the table's */
    ENTRIES = 9,
    INLINE_SIZE = 77,
    LAST_REFUSALS = 2,
};

static const char *const names[KEPT] = {"a", "b", "renamed", "inline", "e", "two\nlines"};

struct damaged {
    struct bench bench;
    struct slots *slots;
    int fd; /* of the index */
    size_t size;
    unsigned char *whole;   /* the file as the server left it, */
    unsigned char *earlier; /* and before each slot's last change */
    struct slot kept[KEPT];
};

/* --- the index, and where its parts are --- */

static size_t stride(void)
{
    return (32 + ENTRY_SIZE + 63) / 64 * 64;
}

/* Where a copy begins, and where its tail does. */
static size_t place(unsigned number, unsigned copy)
{
    return (size_t)2 * PAGE + (copy * (size_t)INDEX_STEP + number) * stride();
}

static size_t place_of_tail(unsigned number, unsigned copy)
{
    return place(0, 2) + (copy * (size_t)INDEX_STEP + number) * ENTRY_TAIL;
}

static unsigned char *read_file(struct damaged *damaged)
{
    unsigned char *bytes = malloc(damaged->size);

    ck_assert_ptr_nonnull(bytes);
    ck_assert(pread(damaged->fd, bytes, damaged->size, 0) == (ssize_t)damaged->size);
    return bytes;
}

static void write_range(struct damaged *damaged, size_t from, size_t to)
{
    ck_assert(pwrite(damaged->fd, damaged->whole + from, to - from, (off_t)from) == (ssize_t)(to - from));
}

/* Only the entries that are in use are ever written. */
static void put_back(struct damaged *damaged)
{
    ck_assert_int_eq(ftruncate(damaged->fd, (off_t)damaged->size), 0);
    write_range(damaged, 0, place(ENTRIES, 0));
    write_range(damaged, place(0, 1), place(ENTRIES, 1));
    write_range(damaged, place_of_tail(0, 0), place_of_tail(ENTRIES, 0));
    write_range(damaged, place_of_tail(0, 1), place_of_tail(ENTRIES, 1));
}

static struct slot *make(struct damaged *damaged, const char *name)
{
    struct slot *slot;

    ck_assert_int_eq(slot_create(damaged->slots, name, 1000, 100, 0750, &slot), 0);
    slots_commit(damaged->slots);
    return slot;
}

static void follow(struct slot *slot, struct slot *source)
{
    slot->source = slot_index(slot->table, source);
    slot->source_slot = source->serial;
    slot->source_serial = slots_serial(slot->table);
    slot_mark(slot);
}

static void refuse_once(struct slot *slot)
{
    slot->refusals++;
    slot_mark(slot);
}

static void begin(struct damaged *damaged)
{
    char error[ARENA_ERROR_MAX];
    struct slot *slot[KEPT];
    struct stat status;
    uint8_t bytes[INLINE_SIZE];

    log_open(LOG_TO_STDERR, LOG_LEVEL_ERROR); /* warnings are what this is about */
    ck_assert(bench_open(&damaged->bench, ARENA_DIR, 64 * MIB, 0));
    ck_assert_int_eq(slots_open(&damaged->slots, damaged->bench.arena, LIMIT, error), 0);
    ck_assert_int_eq(slots_begin(damaged->slots), 0);
    for (int i = 0; i < KEPT; i++)
        slot[i] = make(damaged, i == 2 ? "before" : names[i]);
    slot_destroy(damaged->slots, make(damaged, "gone"));
    slots_commit(damaged->slots);
    slot_rename(damaged->slots, slot[2], names[2]);
    follow(slot[1], slot[0]);
    follow(slot[2], slot[1]);
    follow(slot[4], slot[0]);
    memset(bytes, 'x', sizeof(bytes));
    slot[3]->record.dtype = RECORD_UINT8;
    slot[3]->record.input_length = INLINE_SIZE;
    slot_set_inline(slot[3], RECORD_SIDE_INPUT, bytes, sizeof(bytes));
    slot_set_inline(slot[3], RECORD_SIDE_RESULT, bytes, 5);
    slot_enter_state(damaged->slots, slot[3], STATE_READY);
    slots_commit(damaged->slots);
    damaged->fd = arena_file_open(damaged->bench.arena, "index", O_RDWR);
    ck_assert_int_ge(damaged->fd, 0);
    ck_assert_int_eq(fstat(damaged->fd, &status), 0);
    damaged->size = (size_t)status.st_size;
    for (int times = 1; times <= LAST_REFUSALS; times++) {
        if (times == LAST_REFUSALS)
            damaged->earlier = read_file(damaged);
        for (int i = 0; i < KEPT; i++) {
            refuse_once(slot[i]);
            slots_commit(damaged->slots);
        }
    }
    for (int i = 0; i < KEPT; i++) {
        damaged->kept[i] = *slot[i];
        damaged->kept[i].record.flag = handshake_flag(slot_state(slot[i]));
    }
    slots_close(damaged->slots);
    damaged->whole = read_file(damaged);
}

static void end(struct damaged *damaged)
{
    put_back(damaged);
    close(damaged->fd);
    free(damaged->whole);
    free(damaged->earlier);
    bench_close(&damaged->bench);
}

/* --- what a start makes of it --- */

struct found {
    unsigned same;    /* slots as they were */
    unsigned before;  /* as they were before their last change */
    unsigned aside;   /* slots that stand for another one */
    unsigned missing; /* and those without that */
    uint32_t lost;
};

static bool has_chain(struct damaged *damaged, const struct slot *slot, int i)
{
    static const char *const sources[KEPT] = {NULL, "a", "b", NULL, "a", NULL};
    const struct slot *source = slot_at(damaged->slots, slot->source);

    if (!sources[i])
        return !source;
    /* A source that is set aside has another name. */
    return source && (strncmp(source->name, "damaged-", 8) == 0 || strcmp(source->name, sources[i]) == 0);
}

static void compare(struct damaged *damaged, int i, struct found *found)
{
    struct slot *slot = slot_find(damaged->slots, names[i]);
    struct slot expected = damaged->kept[i];

    if (!slot) {
        found->missing++;
        return;
    }
    ck_assert(slot->refusals == LAST_REFUSALS || slot->refusals == LAST_REFUSALS - 1);
    ck_assert(has_chain(damaged, slot, i));
    found->same += slot->refusals == LAST_REFUSALS;
    found->before += slot->refusals == LAST_REFUSALS - 1;
    expected.refusals = slot->refusals;
    expected.source_slot = slot->source_slot;
    expected.record.change &= ~UINT32_C(1);
    ck_assert_mem_eq(slot, &expected, ENTRY_SIZE);
    if (i == 3) {
        ck_assert_int_eq(slot->inline_bytes[RECORD_SIDE_INPUT][INLINE_SIZE - 1], 'x');
        ck_assert_int_eq(slot->inline_bytes[RECORD_SIDE_RESULT][4], 'x');
        ck_assert_int_eq(slot->inline_bytes[RECORD_SIDE_RESULT][5], 0);
    }
}

/* Every slot is in the place where others look for it, whatever the index said. */
static void expect_consistent(struct damaged *damaged)
{
    uint32_t count = 0, followers = 0, followed = 0, index = 0;
    const struct slot *slot;

    for (; (slot = slot_after(damaged->slots, index)); index = slot_index(damaged->slots, slot)) {
        count++;
        ck_assert_ptr_eq(slot_find(damaged->slots, slot->name), slot);
        ck_assert_int_eq(slot->record.flag, handshake_flag(slot_state(slot)));
        followers += slot->source != 0;
        for (uint32_t at = slot->first_follower; at; at = slot_at(damaged->slots, at)->next_follower) {
            ck_assert_uint_eq(slot_at(damaged->slots, at)->source, slot_index(damaged->slots, slot));
            followed++;
        }
    }
    ck_assert_uint_eq(count, slots_count(damaged->slots));
    ck_assert_uint_eq(followers, followed);
    ck_assert_ptr_null(slots_forgotten(damaged->slots));
}

/* Starts on the file as it is now. False if the start is refused; then nothing was changed. */
static bool start(struct damaged *damaged, struct found *found)
{
    char error[ARENA_ERROR_MAX];
    struct slot *slot;
    uint32_t index = 0;

    *found = (struct found){0};
    if (slots_open(&damaged->slots, damaged->bench.arena, LIMIT, error) < 0) {
        ck_assert_ptr_nonnull(strstr(error, "index"));
        return false;
    }
    ck_assert_int_eq(slots_begin(damaged->slots), 0);
    found->lost = slots_lost(damaged->slots);
    for (int i = 0; i < KEPT; i++)
        compare(damaged, i, found);
    for (; (slot = slot_after(damaged->slots, index)); index = slot_index(damaged->slots, slot)) {
        found->aside += slot->damage == SLOT_SET_ASIDE;
        if (slot->damage != SLOT_SET_ASIDE)
            continue;
        ck_assert_int_eq(strncmp(slot->name, "damaged-", 8), 0);
        ck_assert_uint_eq(slot->state, STATE_FAILED);
        ck_assert_uint_eq(slot->uid, geteuid());
        ck_assert_uint_eq(slot->modes[SLOT_DIRECTORY], 0700);
        ck_assert_uint_eq(slot->failed.cause, CAUSE_DAMAGE);
    }
    expect_consistent(damaged);
    slots_close(damaged->slots);
    return true;
}

/* A second start finds what the first one has made of it, whole. */
static void expect_mended(struct damaged *damaged, const struct found *first)
{
    struct found again;

    ck_assert(start(damaged, &again));
    ck_assert_uint_eq(again.same, first->same);
    ck_assert_uint_eq(again.before, first->before);
    ck_assert_uint_eq(again.aside, 0);
    ck_assert_uint_eq(again.lost, 0);
}

static void expect_all(struct damaged *damaged, const char *what, size_t at)
{
    struct found found;

    ck_assert_msg(start(damaged, &found), "%s at %zu: refused", what, at);
    ck_assert_msg(found.same + found.before == KEPT && found.aside == 0 && found.lost == 0,
                  "%s at %zu: %u as they were, %u before, %u aside, %u lost", what, at, found.same,
                  found.before, found.aside, found.lost);
}

START_TEST(test_whole)
{
    struct damaged damaged;
    struct found found;

    begin(&damaged);
    ck_assert(start(&damaged, &found));
    ck_assert_uint_eq(found.same, KEPT);
    expect_mended(&damaged, &found);
    end(&damaged);
}
END_TEST

/* One bit of each byte; which one differs from byte to byte. */
START_TEST(test_every_byte)
{
    const struct {
        size_t from, to;
    } parts[] = {
        {0, 32},
        {PAGE, PAGE + 32},
        {place(0, 0), place(ENTRIES, 0)},
        {place(0, 1), place(ENTRIES, 1)},
        {place_of_tail(4, 0), place_of_tail(4, 0) + INLINE_SIZE + 10},
        {place_of_tail(4, 1), place_of_tail(4, 1) + INLINE_SIZE + 10},
    };
    struct damaged damaged;
    unsigned before = 0;

    begin(&damaged);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        for (size_t at = parts[i].from + (size_t)_i; at < parts[i].to; at += 8) {
            unsigned char byte = damaged.whole[at] ^ (unsigned char)(1 << at / 8 % 8);
            struct found found;

            ck_assert_int_eq(pwrite(damaged.fd, &byte, 1, (off_t)at), 1);
            ck_assert_msg(start(&damaged, &found), "byte %zu: refused", at);
            ck_assert_msg(found.same >= KEPT - 1 && found.same + found.before == KEPT && found.aside == 0,
                          "byte %zu: %u as they were, %u before, %u aside", at, found.same, found.before,
                          found.aside);
            before += found.before;
            put_back(&damaged);
        }
    }
    ck_assert_uint_gt(before, 0);
    end(&damaged);
}
END_TEST

/* Garbage, zeros, or the same page as it was before. */
START_TEST(test_every_page)
{
    struct damaged damaged;
    unsigned char page[PAGE];
    unsigned seed = 1;

    begin(&damaged);
    for (size_t at = 0; at + PAGE <= damaged.size; at += PAGE) {
        if (at > place(ENTRIES, 0) && at + PAGE < place(0, 1))
            continue;
        for (size_t i = 0; i < PAGE; i++)
            page[i] = _i == 0 ? (unsigned char)(rand_r(&seed) >> 8) : _i == 1 ? 0 : damaged.earlier[at + i];
        ck_assert_int_eq(pwrite(damaged.fd, page, PAGE, (off_t)at), PAGE);
        expect_all(&damaged, "a page", at);
        write_range(&damaged, at, at + PAGE);
        put_back(&damaged);
    }
    end(&damaged);
}
END_TEST

START_TEST(test_every_length)
{
    struct damaged damaged;
    struct found found;
    size_t sizes[3000], count = 0;

    begin(&damaged);
    for (size_t size = 0; size < damaged.size; size += size < place(ENTRIES, 0) ? 101 : 4099)
        sizes[count++] = size;
    for (int copy = 0; copy < 2; copy++) {
        for (unsigned number = 0; number < ENTRIES; number++) {
            for (int off = -1; off <= 1; off++)
                sizes[count++] = place(number, (unsigned)copy) + (size_t)off;
        }
    }
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(ftruncate(damaged.fd, (off_t)sizes[i]), 0);
        if (sizes[i] <= (size_t)2 * PAGE) {
            /* Without others' files in the arena an empty one is a new one. */
            ck_assert(sizes[i] == 0 || !start(&damaged, &found));
        } else if (sizes[i] < place(ENTRIES, 0)) {
            ck_assert(start(&damaged, &found));
            /* What is gone is counted, unless the table's own entry went as well. */
            ck_assert(found.lost == SLOTS_LOST_UNKNOWN ||
                      found.same + found.before + found.aside + found.lost == KEPT);
            expect_mended(&damaged, &found);
        } else if (sizes[i] >= place_of_tail(ENTRIES, 0)) {
            expect_all(&damaged, "a length", sizes[i]);
        } else {
            ck_assert(start(&damaged, &found));
            ck_assert_uint_ge(found.same + found.before, KEPT - 1); /* the inline arrays of one are cut off */
            ck_assert_uint_eq(found.same + found.before + found.aside, KEPT);
        }
        put_back(&damaged);
    }
    end(&damaged);
}
END_TEST

/* Both copies of one slot: it is set aside, and its neighbours in the chain stay. */
START_TEST(test_both_copies)
{
    struct damaged damaged;
    struct found found;

    begin(&damaged);
    for (unsigned number = 1; number <= KEPT; number++) {
        for (size_t in = 0; in < 32 + ENTRY_SIZE; in += 13) {
            unsigned char bytes[2] = {damaged.whole[place(number, 0) + in] ^ 0x5a,
                                      damaged.whole[place(number, 1) + in] ^ 0xa5};

            ck_assert_int_eq(pwrite(damaged.fd, &bytes[0], 1, (off_t)(place(number, 0) + in)), 1);
            ck_assert_int_eq(pwrite(damaged.fd, &bytes[1], 1, (off_t)(place(number, 1) + in)), 1);
            ck_assert(start(&damaged, &found));
            ck_assert_uint_eq(found.same, KEPT - 1);
            ck_assert_uint_eq(found.missing, 1);
            ck_assert_uint_eq(found.aside, 1);
            expect_mended(&damaged, &found);
            put_back(&damaged);
        }
    }
    end(&damaged);
}
END_TEST

/* Sets a field in both copies, with checksums that are right. */
static void forge(struct damaged *damaged, unsigned number, size_t offset, const void *value, size_t size)
{
    for (unsigned copy = 0; copy < 2; copy++) {
        size_t at = place(number, copy);
        unsigned char *bytes = malloc(stride());
        uint32_t length, tail;
        uint64_t sum;

        ck_assert_ptr_nonnull(bytes);
        ck_assert(pread(damaged->fd, bytes, stride(), (off_t)at) == (ssize_t)stride());
        memcpy(bytes + 32 + offset, value, size);
        memcpy(&length, bytes + 20, sizeof(length));
        memcpy(&tail, bytes + 24, sizeof(tail));
        sum = checksum_of(bytes + 8, 24 + length, number);
        if (tail)
            sum = checksum_of(damaged->whole + place_of_tail(number, copy), tail, sum);
        memcpy(bytes, &sum, sizeof(sum));
        ck_assert(pwrite(damaged->fd, bytes, stride(), (off_t)at) == (ssize_t)stride());
        free(bytes);
    }
}

#define FIELD(name) offsetof(struct slot, name), sizeof(((struct slot *)0)->name)

/* A checksum proves nothing about sense. */
START_TEST(test_nonsense)
{
    static const struct {
        size_t offset, size;
        uint64_t value;
    } rows[] = {
        {FIELD(serial), UINT64_MAX},
        {FIELD(name[0]), '/'},
        {FIELD(name[0]), '.'},
        {FIELD(name[0]), 0},
        {FIELD(modes[3]), 0xffff},
        {FIELD(leaving), 2},
        {FIELD(state), HANDSHAKE_STATES},
        {FIELD(times[2].modified.tv_nsec), 1000000000},
        {FIELD(entered.tv_nsec), UINT64_MAX},
        {FIELD(record.dtype), 99},
        {FIELD(record.input_ndim), 5},
        {FIELD(record.input_inline), RECORD_INLINE_MAX + 1},
        {FIELD(record.result_inline), UINT16_MAX},
        {FIELD(arrays[1].home), LIMIT + 1},
        {FIELD(arrays[0].home_side), 2},
        {FIELD(arrays[0].number), UINT64_MAX},
        {FIELD(arrays[0].segment_id), UINT64_MAX},
        {FIELD(task_size), TEXT_TASK_MAX + 1},
        {FIELD(error_size), TEXT_ERROR_MAX + 1},
        {FIELD(worker), UINT64_MAX},
        {FIELD(source), LIMIT + 1},
        {FIELD(source), UINT32_MAX},
        {FIELD(source_side), 2},
        {FIELD(failed.cause), SLOT_CAUSES},
        {FIELD(has_input), 2},
    };
    struct damaged damaged;
    struct found found;
    char text[SLOT_NAME_MAX + 1];

    begin(&damaged);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        forge(&damaged, 2, rows[i].offset, &rows[i].value, rows[i].size);
        ck_assert_msg(start(&damaged, &found), "row %zu", i);
        ck_assert_msg(found.same == KEPT - 1 && found.missing == 1 && found.aside == 1, "row %zu", i);
        put_back(&damaged);
    }
    /* Texts without an end. */
    memset(text, 'n', sizeof(text));
    for (int i = 0; i < 4; i++) {
        static const struct {
            size_t offset, size;
        } texts[] = {
            {FIELD(name)}, {FIELD(refusal.reason)}, {FIELD(refusal.operation)}, {FIELD(failed.source)}};

        forge(&damaged, 2, texts[i].offset, text, texts[i].size);
        ck_assert(start(&damaged, &found));
        ck_assert_uint_eq(found.aside, 1);
        put_back(&damaged);
    }
    end(&damaged);
}
END_TEST

#define TABLE(name) offsetof(struct table_entry, name), sizeof(((struct table_entry *)0)->name)

/* The table's own entry: what it must not say is found from the slots. */
START_TEST(test_nonsense_of_the_table)
{
    static const struct {
        size_t offset, size;
        uint64_t value;
    } rows[] = {
        {TABLE(serials), 0},        {TABLE(serials), UINT64_MAX},
        {TABLE(room), 0},           {TABLE(room), SLOT_LIMIT + 2},
        {TABLE(room), UINT32_MAX},  {TABLE(slots), INDEX_STEP},
        {TABLE(slots), UINT32_MAX}, {TABLE(root.changed.tv_nsec), 1000000000},
    };
    struct damaged damaged;

    begin(&damaged);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char error[ARENA_ERROR_MAX];
        struct slot *slot;
        struct found found;
        uint64_t serial;

        forge(&damaged, 0, rows[i].offset, &rows[i].value, rows[i].size);
        ck_assert_msg(start(&damaged, &found), "row %zu: refused", i);
        ck_assert_msg(found.same == KEPT && found.aside == 0, "row %zu", i);
        expect_mended(&damaged, &found);
        /* Nor does a serial come a second time, or leave its bounds, when no slot is left that has one. */
        ck_assert_int_eq(slots_open(&damaged.slots, damaged.bench.arena, LIMIT, error), 0);
        ck_assert_int_eq(slots_begin(damaged.slots), 0);
        serial = slots_serial(damaged.slots);
        ck_assert(serial > damaged.kept[KEPT - 1].arrays[1].serial && serial < UINT64_C(1)
                                                                                   << SOUND_SERIAL_BITS);
        while ((slot = slot_after(damaged.slots, 0)))
            slot_destroy(damaged.slots, slot);
        slots_commit(damaged.slots);
        slots_close(damaged.slots);
        forge(&damaged, 0, rows[i].offset, &rows[i].value, rows[i].size);
        ck_assert_int_eq(slots_open(&damaged.slots, damaged.bench.arena, LIMIT, error), 0);
        ck_assert_int_eq(slots_begin(damaged.slots), 0);
        serial = slots_serial(damaged.slots);
        ck_assert_msg(serial >= 16 && serial < UINT64_C(1) << SOUND_SERIAL_BITS, "row %zu", i);
        slots_close(damaged.slots);
        put_back(&damaged);
    }
    end(&damaged);
}
END_TEST

/* A table that knows of no more slots than are sound: what else looks like one was a free entry, and is one again. */
START_TEST(test_nonsense_that_was_free)
{
    const uint32_t sound = KEPT - 1;
    const uint64_t serial = UINT64_MAX;
    struct damaged damaged;
    struct found found;

    begin(&damaged);
    forge(&damaged, 0, offsetof(struct table_entry, slots), &sound, sizeof(sound));
    forge(&damaged, KEPT, offsetof(struct slot, serial), &serial, sizeof(serial));
    ck_assert(start(&damaged, &found));
    ck_assert_uint_eq(found.same, sound);
    ck_assert_uint_eq(found.aside, 0);
    expect_mended(&damaged, &found);
    end(&damaged);
}
END_TEST

/* A source that is the slot itself, or behind it in the chain, or not there, or another one by now. */
START_TEST(test_chains)
{
    static const struct {
        uint32_t source;
        uint64_t source_slot; /* 0: that slot's serial */
    } rows[] = {{2, 0}, {3, 0}, {20, 12345}, {1, 12345}};
    struct damaged damaged;
    char error[ARENA_ERROR_MAX];
    struct slot *slot;

    begin(&damaged);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t serial = rows[i].source_slot ? rows[i].source_slot : damaged.kept[rows[i].source - 1].serial;

        forge(&damaged, 2, offsetof(struct slot, source), &rows[i].source, sizeof(rows[i].source));
        forge(&damaged, 2, offsetof(struct slot, source_slot), &serial, sizeof(serial));
        ck_assert_int_eq(slots_open(&damaged.slots, damaged.bench.arena, LIMIT, error), 0);
        ck_assert_int_eq(slots_begin(damaged.slots), 0);
        ck_assert_uint_eq(slots_count(damaged.slots), KEPT);
        expect_consistent(&damaged);
        /* No way along the sources is longer than there are slots. */
        for (int j = 0; j < KEPT; j++) {
            unsigned steps = 0;

            for (slot = slot_find(damaged.slots, names[j]); slot; slot = slot_at(damaged.slots, slot->source))
                ck_assert_uint_lt(steps++, KEPT);
        }
        slots_close(damaged.slots);
        put_back(&damaged);
    }
    end(&damaged);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("index");
    TCase *tests = tcase_create("damage");

    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, test_whole);
    tcase_add_loop_test(tests, test_every_byte, 0, 8);
    tcase_add_loop_test(tests, test_every_page, 0, 3);
    tcase_add_test(tests, test_every_length);
    tcase_add_test(tests, test_both_copies);
    tcase_add_test(tests, test_nonsense);
    tcase_add_test(tests, test_nonsense_of_the_table);
    tcase_add_test(tests, test_nonsense_that_was_free);
    tcase_add_test(tests, test_chains);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
