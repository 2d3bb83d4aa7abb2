// SPDX-License-Identifier: Apache-2.0
/*
 * test_slot.c - the table of slots: names, growth and limits, serials, and the index that keeps it all.
 */
#include "arena_fixture.h"
#include "base/checksum.h"
#include "record_samples.h"
#include "slot/restore.h"
#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MANY = 10000, ANY_UID = 1000, ANY_GID = 100 };

struct table {
    struct bench bench;
    struct slots *slots;
};

static int try_open(struct table *table, uint32_t limit, char error[ARENA_ERROR_MAX])
{
    strcpy(error, "");
    return slots_open(&table->slots, table->bench.arena, limit, error);
}

static void open_index(struct table *table, uint32_t limit)
{
    char error[ARENA_ERROR_MAX];

    ck_assert_msg(try_open(table, limit, error) == 0, "%s", error);
    ck_assert_uint_eq(slots_count(table->slots), 0); /* the table begins empty */
    ck_assert_int_eq(slots_begin(table->slots), 0);
}

static void table_open(struct table *table, enum arena_kind kind, uint32_t limit)
{
    ck_assert(bench_open(&table->bench, kind, 64 * MIB, 0));
    open_index(table, limit);
}

static void table_close(struct table *table)
{
    slots_close(table->slots);
    bench_close(&table->bench);
}

/* Opens the table as a server does that starts on what another one left. */
static void table_reopen(struct table *table, uint32_t limit)
{
    slots_close(table->slots);
    bench_stop(&table->bench);
    bench_start(&table->bench);
    open_index(table, limit);
}

static int try_create(struct table *table, const char *name, struct slot **slot)
{
    *slot = NULL;
    return slot_create(table->slots, name, ANY_UID, ANY_GID, 0750, slot);
}

static struct slot *create(struct table *table, const char *name)
{
    struct slot *slot;

    ck_assert_int_eq(try_create(table, name, &slot), 0);
    ck_assert_ptr_eq(slot_find(table->slots, name), slot);
    ck_assert_ptr_eq(slot_at(table->slots, slot_index(table->slots, slot)), slot);
    return slot;
}

struct number_name {
    char text[16];
};

static struct number_name numbered(unsigned number)
{
    struct number_name name;

    snprintf(name.text, sizeof(name.text), "slot-%u", number);
    return name;
}

static struct slot *create_number(struct table *table, unsigned number)
{
    return create(table, numbered(number).text);
}

static struct slot *find_number(struct table *table, unsigned number)
{
    return slot_find(table->slots, numbered(number).text);
}

START_TEST(test_fresh_slot)
{
    struct table table;
    struct record record;
    struct slot *slot;

    table_open(&table, ARENA_MEMFD, 10);
    record_init(&record);
    slot = create(&table, "job");
    ck_assert_str_eq(slot->name, "job");
    ck_assert_uint_eq(slot->uid, ANY_UID);
    ck_assert_uint_eq(slot->gid, ANY_GID);
    ck_assert_uint_eq(slot->state, STATE_IDLE);
    ck_assert_mem_eq(&slot->record, &record, sizeof(record));
    ck_assert_uint_gt(slot_index(table.slots, slot), 0);
    for (int side = 0; side < 2; side++) {
        ck_assert_uint_eq(slot->arrays[side].segment_id, 0);
        ck_assert_uint_eq(slot->arrays[side].number, slot->arrays[side].serial);
        ck_assert_uint_eq(slot->arrays[side].home, slot_index(table.slots, slot));
        ck_assert_uint_eq(slot->arrays[side].home_side, (unsigned)side);
        ck_assert_ptr_null(slot->segments[side]);
    }
    for (int file = 0; file < SLOT_FILES; file++)
        ck_assert_int_gt(slot_times(slot, (enum slot_file)file)->accessed.tv_sec, 0);
    ck_assert_int_gt(slot->entered.tv_sec, 0);
    ck_assert_uint_eq(slots_count(table.slots), 1);
    ck_assert_uint_eq(slots_limit(table.slots), 10);

    /* A slot in the same place inherits nothing. */
    slot->owner = slot->worker = 1;
    slot->record.round = 99;
    slot->task_size = 5;
    slot_destroy(table.slots, slot);
    ck_assert_ptr_null(slot_find(table.slots, "job"));
    ck_assert_uint_eq(slots_count(table.slots), 0);
    slot = create(&table, "other");
    ck_assert_int_eq(slot->owner | slot->worker, 0);
    ck_assert_uint_eq(slot->record.round, 1);
    ck_assert_uint_eq(slot->task_size, 0);
    table_close(&table);
}
END_TEST

START_TEST(test_names)
{
    static const struct {
        const char *name;
        size_t length; /* so many bytes 'n' follow */
        int result;
    } rows[] = {
        {"a", 0, 0},
        {NULL, 255, 0},
        {NULL, 256, -ENAMETOOLONG},
        {NULL, 5000, -ENAMETOOLONG},
        {"two\nlines", 0, 0},
        {"\xff\xfe not UTF-8 \x80", 0, 0},
        {"\x01\x1b[31m\x7f", 0, 0},
        {"a.b..", 0, 0},
        {"-rf", 0, 0},
        {"space and\ttab", 0, 0},
        {"\xc3\xa9t\xc3\xa9", 0, 0},
        {"metadata.bin", 0, 0},
        {".", 0, -EPERM},
        {"..", 0, -EPERM},
        {".hidden", 0, -EPERM},
        {".pyrmap", 0, -EPERM},
        {"", 0, -EINVAL},
        {"a/b", 0, -EINVAL},
        {"/", 0, -EINVAL},
    };
    struct table table;
    uint32_t made = 0;

    table_open(&table, ARENA_MEMFD, 100);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char name[5001] = "";
        struct slot *slot;

        if (rows[i].name)
            strcpy(name, rows[i].name);
        memset(name + strlen(name), 'n', rows[i].length);
        ck_assert_int_eq(slot_name_check(name), rows[i].result);
        ck_assert_int_eq(try_create(&table, name, &slot), rows[i].result);
        if (rows[i].result < 0) {
            ck_assert_ptr_null(slot_find(table.slots, name));
            continue;
        }
        made++;
        ck_assert_str_eq(slot->name, name);
        ck_assert_ptr_eq(slot_find(table.slots, name), slot);
        ck_assert_int_eq(try_create(&table, name, &slot), -EEXIST);
    }
    ck_assert_uint_eq(slots_count(table.slots), made);
    ck_assert_ptr_null(slot_find(table.slots, "A"));
    ck_assert_ptr_null(slot_find(table.slots, "two"));
    table_close(&table);
}
END_TEST

START_TEST(test_rename)
{
    struct table table;
    struct slot *slot, *other;
    char longest[SLOT_NAME_MAX + 1];
    uint64_t serial;
    uint32_t index;

    table_open(&table, ARENA_MEMFD, 100);
    slot = create(&table, "old");
    other = create(&table, "other");
    serial = slot->serial;
    index = slot_index(table.slots, slot);
    memset(longest, 'x', SLOT_NAME_MAX);
    longest[SLOT_NAME_MAX] = '\0';

    slot_rename(table.slots, slot, longest);
    ck_assert_ptr_eq(slot_find(table.slots, longest), slot);
    ck_assert_ptr_null(slot_find(table.slots, "old"));
    slot_rename(table.slots, slot, "n");
    ck_assert_ptr_eq(slot_find(table.slots, "n"), slot);
    ck_assert_ptr_null(slot_find(table.slots, longest));
    ck_assert_str_eq(slot->name, "n");
    ck_assert_uint_eq(slot->serial, serial);
    ck_assert_uint_eq(slot_index(table.slots, slot), index);
    ck_assert_uint_eq(slots_count(table.slots), 2);
    ck_assert_ptr_eq(slot_find(table.slots, "other"), other);
    create(&table, "old");
    table_close(&table);
}
END_TEST

START_TEST(test_growth_and_limit)
{
    static const uint32_t limits[] = {1, 2, 127, 128, 129, 300};
    uint32_t limit = limits[_i];
    struct table table;
    struct slot *slot;

    table_open(&table, ARENA_MEMFD, limit);
    for (uint32_t i = 0; i < limit; i++)
        create_number(&table, i);
    ck_assert_uint_eq(slots_count(table.slots), limit);
    ck_assert_int_eq(try_create(&table, "one more", &slot), -ENOSPC);
    ck_assert_ptr_null(slot_find(table.slots, "one more"));
    slot_destroy(table.slots, find_number(&table, 0));
    create(&table, "one more");
    ck_assert_int_eq(try_create(&table, "slot-0", &slot), -ENOSPC);
    ck_assert_uint_eq(slots_count(table.slots), limit);
    table_close(&table);
}
END_TEST

/*
 * The index allocates its pages before it uses them: no signal, and the entries stay usable. A tmpfs has
 * limited room for it besides its capacity.
 */
START_TEST(test_full_arena)
{
    struct table table;
    struct slot *slot;
    uint32_t made = 0;
    int result;

    if (!bench_open(&table.bench, ARENA_TMPFS, 512 * KIB, 0))
        return;
    open_index(&table, SLOT_LIMIT);
    do {
        result = try_create(&table, numbered(made).text, &slot);
        made += result == 0;
    } while (result == 0);
    ck_assert_int_eq(result, -ENOSPC);
    ck_assert_uint_gt(made, 0);
    ck_assert_uint_lt(made, SLOT_LIMIT);
    ck_assert_uint_eq(slots_count(table.slots), made);
    slot_destroy(table.slots, find_number(&table, 0));
    create(&table, "in its place");
    ck_assert_int_eq(try_create(&table, "slot-0", &slot), -ENOSPC);
    table_close(&table);
}
END_TEST

START_TEST(test_iteration)
{
    struct table table;
    struct slot *slot;
    unsigned seen = 0;
    uint32_t index = 0;

    table_open(&table, ARENA_MEMFD, 1000);
    ck_assert_ptr_null(slot_after(table.slots, 0));
    ck_assert_ptr_null(slot_at(table.slots, 0));
    ck_assert_ptr_null(slot_at(table.slots, 1));
    ck_assert_ptr_null(slot_at(table.slots, UINT32_MAX));
    for (unsigned i = 0; i < 300; i++)
        create_number(&table, i);
    for (unsigned i = 0; i < 300; i += 3) {
        slot = find_number(&table, i);
        index = slot_index(table.slots, slot);
        slot_destroy(table.slots, slot);
        ck_assert_ptr_null(slot_at(table.slots, index));
    }
    for (slot = slot_after(table.slots, 0); slot; slot = slot_after(table.slots, index)) {
        ck_assert_ptr_eq(slot_find(table.slots, slot->name), slot);
        ck_assert(seen == 0 || slot_index(table.slots, slot) > index);
        index = slot_index(table.slots, slot);
        seen++;
    }
    ck_assert_uint_eq(seen, 200);
    ck_assert_ptr_null(slot_after(table.slots, 1 << 20));
    table_close(&table);
}
END_TEST

START_TEST(test_modes)
{
    static const struct {
        enum slot_file file;
        unsigned open, tight; /* from 01777 and 0700 */
        enum record_side side;
    } rows[] = {
        {SLOT_DIRECTORY, 01777, 0700, 0},
        {SLOT_METADATA_BIN, 0666, 0600, 0},
        {SLOT_METADATA_MEM, 0444, 0400, 0},
        {SLOT_METADATA_TXT, 0666, 0600, 0},
        {SLOT_DATA_BIN, 0666, 0600, RECORD_SIDE_INPUT},
        {SLOT_RESULT_BIN, 0666, 0600, RECORD_SIDE_RESULT},
        {SLOT_DATA_TXT, 0444, 0400, RECORD_SIDE_INPUT},
        {SLOT_RESULT_TXT, 0444, 0400, RECORD_SIDE_RESULT},
        {SLOT_DATA_NPY, 0444, 0400, RECORD_SIDE_INPUT},
        {SLOT_RESULT_NPY, 0444, 0400, RECORD_SIDE_RESULT},
        {SLOT_TASK, 0666, 0600, 0},
        {SLOT_ERROR, 0666, 0600, 0},
        {SLOT_OWNER, 0666, 0600, 0},
        {SLOT_WORKER, 0666, 0600, 0},
        {SLOT_SOURCE, 0777, 0777, 0},
        {SLOT_DATA_LINK, 0777, 0777, 0},
        {SLOT_RESULT_LINK, 0777, 0777, 0},
        {SLOT_METADATA_LINK, 0777, 0777, 0},
    };
    struct slot slot = {0};

    ck_assert_uint_eq(sizeof(rows) / sizeof(rows[0]), SLOT_FILES);
    for (size_t i = 0; i < SLOT_FILES; i++) {
        slot_chmod(&slot, 01777);
        ck_assert_uint_eq(slot.modes[rows[i].file], rows[i].open);
        slot_chmod(&slot, 0700);
        ck_assert_uint_eq(slot.modes[rows[i].file], rows[i].tight);
        ck_assert_int_eq(slot_file_side(rows[i].file), rows[i].side);
    }
    slot_chmod(&slot, S_IFDIR | 0750);
    ck_assert_uint_eq(slot.modes[SLOT_DIRECTORY], 0750);
}
END_TEST

/* Whether a moment is later than one before it. */
static bool is_later(const struct timespec *now, const struct timespec *before)
{
    return now->tv_sec > before->tv_sec || (now->tv_sec == before->tv_sec && now->tv_nsec > before->tv_nsec);
}

START_TEST(test_times)
{
    static const struct timespec long_ago = {.tv_sec = 1000};
    const struct slot_times old = {long_ago, long_ago, long_ago};
    struct slot_times *root;
    struct table table;
    struct slot *slot;

    table_open(&table, ARENA_DIR, 10);
    root = slots_times(table.slots);
    *root = old;
    slot = create(&table, "job");
    ck_assert(is_later(&root->modified, &long_ago) && is_later(&root->changed, &long_ago));
    ck_assert_mem_eq(&root->accessed, &long_ago, sizeof(long_ago));
    for (int file = 0; file < SLOT_FILES; file++)
        *slot_times(slot, (enum slot_file)file) = old;

    slot_touch(slot, SLOT_TASK);
    ck_assert(is_later(&slot_times(slot, SLOT_TASK)->modified, &long_ago));
    ck_assert(is_later(&slot_times(slot, SLOT_TASK)->changed, &long_ago));
    ck_assert_mem_eq(&slot_times(slot, SLOT_TASK)->accessed, &long_ago, sizeof(long_ago));
    ck_assert_mem_eq(slot_times(slot, SLOT_ERROR), &old, sizeof(old));
    slot_touch_attributes(slot, SLOT_ERROR);
    ck_assert_mem_eq(&slot_times(slot, SLOT_ERROR)->modified, &long_ago, sizeof(long_ago));
    ck_assert(is_later(&slot_times(slot, SLOT_ERROR)->changed, &long_ago));
    /* Two files that show the same thing share its times. */
    ck_assert_ptr_eq(slot_times(slot, SLOT_METADATA_TXT), slot_times(slot, SLOT_METADATA_BIN));
    ck_assert_ptr_eq(slot_times(slot, SLOT_DATA_NPY), slot_times(slot, SLOT_DATA_BIN));
    ck_assert_ptr_eq(slot_times(slot, SLOT_RESULT_TXT), slot_times(slot, SLOT_RESULT_BIN));
    ck_assert_ptr_ne(slot_times(slot, SLOT_RESULT_BIN), slot_times(slot, SLOT_DATA_BIN));

    *root = old;
    slot_rename(table.slots, slot, "other");
    ck_assert(is_later(&root->modified, &long_ago));
    ck_assert_mem_eq(&slot_times(slot, SLOT_DIRECTORY)->modified, &long_ago, sizeof(long_ago));
    ck_assert(is_later(&slot_times(slot, SLOT_DIRECTORY)->changed, &long_ago));
    *root = old;
    slot_chmod(slot, 0700);
    slot_chown(slot, ANY_UID + 1, ANY_GID);
    ck_assert_uint_eq(slot->uid, ANY_UID + 1);
    ck_assert(is_later(&slot_times(slot, SLOT_WORKER)->changed, &long_ago));
    ck_assert_mem_eq(root, &old, sizeof(old));
    table_reopen(&table, 10);
    ck_assert_mem_eq(slots_times(table.slots), &old, sizeof(old));
    slot = slot_find(table.slots, "other");
    ck_assert_mem_eq(&slot_times(slot, SLOT_DIRECTORY)->modified, &long_ago, sizeof(long_ago));
    slot_destroy(table.slots, slot);
    ck_assert(is_later(&slots_times(table.slots)->modified, &long_ago));
    table_close(&table);
}
END_TEST

/* --- the index --- */

START_TEST(test_index_survives)
{
    struct table table;
    struct slot *slot;
    uint64_t serial, last;

    table_open(&table, ARENA_DIR, 500);
    for (unsigned i = 0; i < 200; i++)
        create_number(&table, i);
    slot_destroy(table.slots, find_number(&table, 7));
    slot = find_number(&table, 150);
    slot_rename(table.slots, slot, "two\nlines");
    slot->record.round = 12345;
    slot->state = STATE_DONE;
    slot->task_size = 11;
    slot->owner = 17;
    slot->waiters.lh_first = (struct wait *)slot;
    slot->segments[0] = (struct segment *)slot;
    slot->queued = slot->pages[0].handles = slot->pages[1].exists = 1;
    slot->filler = 3;
    serial = slot->serial;
    last = slots_serial(table.slots);

    table_reopen(&table, 400);
    ck_assert_uint_eq(slots_count(table.slots), 199);
    ck_assert_uint_eq(slots_limit(table.slots), 400);
    ck_assert_ptr_null(find_number(&table, 7));
    ck_assert_ptr_null(find_number(&table, 150));
    slot = slot_find(table.slots, "two\nlines");
    ck_assert_ptr_nonnull(slot);
    ck_assert_uint_eq(slot->serial, serial);
    ck_assert_uint_eq(slot->record.round, 12345);
    ck_assert_uint_eq(slot->state, STATE_DONE);
    ck_assert_uint_eq(slot->task_size, 11);
    ck_assert_int_eq(slot->owner, 17);
    ck_assert(LIST_EMPTY(&slot->waiters));
    ck_assert_ptr_null(slot->segments[0]);
    ck_assert_uint_eq(slot->queued | slot->pages[0].handles | slot->pages[1].exists, 0);
    ck_assert_int_eq(slot->filler, 3); /* the process may be there still */
    ck_assert_uint_gt(slots_serial(table.slots), last);
    create(&table, "slot-7");
    slot_destroy(table.slots, find_number(&table, 8));
    create(&table, "slot-150");
    ck_assert_uint_eq(slots_count(table.slots), 200);
    table_close(&table);
}
END_TEST

/* A crash during growth, or with a slot half made, leaves nothing that counts. */
START_TEST(test_index_after_a_crash)
{
    struct table table;
    struct slot *slot;
    uint32_t index;

    table_open(&table, ARENA_DIR, 500);
    slot = create(&table, "whole");
    slot = create(&table, "half");
    index = slot_index(table.slots, slot);
    slot->serial = 0;
    table_reopen(&table, 500);
    ck_assert_uint_eq(slots_count(table.slots), 1);
    ck_assert_ptr_nonnull(slot_find(table.slots, "whole"));
    ck_assert_ptr_null(slot_find(table.slots, "half"));
    slot = create(&table, "next");
    ck_assert_uint_eq(slot_index(table.slots, slot), index);
    table_close(&table);
}
END_TEST

enum { PAGE = 4096, HEADER_SUM = 16 }; /* the checksum stands behind what it is of */

/*
 * Changes a word in both headers of the index while nobody has it mapped; with their checksums, or in spite of
 * them. Returns the old word.
 */
static uint32_t damage(struct table *table, off_t offset, uint32_t word, bool is_right)
{
    int fd = arena_file_open(table->bench.arena, "index", O_RDWR);
    unsigned char header[HEADER_SUM];
    uint32_t before = 0;
    uint64_t sum;

    for (off_t page = 0; page < 2; page++) {
        ck_assert_int_eq(pread(fd, &before, sizeof(before), page * PAGE + offset), sizeof(before));
        ck_assert_int_eq(pwrite(fd, &word, sizeof(word), page * PAGE + offset), sizeof(word));
        ck_assert_int_eq(pread(fd, header, sizeof(header), page * PAGE), sizeof(header));
        sum = checksum_of(header, sizeof(header), 0);
        if (is_right)
            ck_assert_int_eq(pwrite(fd, &sum, sizeof(sum), page * PAGE + HEADER_SUM), sizeof(sum));
    }
    close(fd);
    return before;
}

static void expect_unusable(struct table *table, uint32_t limit, const char *remedy)
{
    char error[ARENA_ERROR_MAX];

    ck_assert_int_eq(try_open(table, limit, error), -EINVAL);
    ck_assert_ptr_null(table->slots);
    ck_assert_msg(strstr(error, remedy) != NULL, "\"%s\" does not say \"%s\"", error, remedy);
    ck_assert_ptr_null(strchr(error, '\n'));
}

START_TEST(test_foreign_index)
{
    /* Offsets of the index's header. */
    static const struct {
        off_t offset;
        uint32_t value;
        bool is_right; /* the checksum */
        const char *remedy;
    } rows[] = {
        {0, 0x21212121, true, "damaged"}, /* magic */
        {4, 0, false, "damaged"},
        {8, 4, false, "another version"}, /* version; before the fifth there was no checksum */
        {8, 5, true, "another version"},
        {8, 6, true, "another version"},
        {8, 8, true, "another version"},
        {12, sizeof(struct slot) + 8, true, "another version"}, /* size of an entry */
        {12, sizeof(struct slot) + 8, false, "damaged"},
    };
    struct table table;

    table_open(&table, ARENA_DIR, 500);
    create(&table, "kept");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t right;

        slots_close(table.slots);
        right = damage(&table, rows[i].offset, rows[i].value, rows[i].is_right);
        ck_assert_uint_ne(right, rows[i].value);
        expect_unusable(&table, 500, rows[i].remedy);
        damage(&table, rows[i].offset, right, true);
        open_index(&table, 500);
        ck_assert_ptr_nonnull(slot_find(table.slots, "kept"));
    }
    table_close(&table);
}
END_TEST

START_TEST(test_index_of_another_size)
{
    struct table table;
    int fd;

    table_open(&table, ARENA_DIR, 500);
    for (unsigned i = 0; i < 200; i++)
        create_number(&table, i);
    slots_close(table.slots);
    expect_unusable(&table, 100, "limits.slots");
    open_index(&table, 256);
    ck_assert_uint_eq(slots_count(table.slots), 200);
    slots_close(table.slots);
    fd = arena_file_open(table.bench.arena, "index", O_RDWR);
    ck_assert_int_eq(ftruncate(fd, 8192), 0);
    close(fd);
    expect_unusable(&table, 500, "cut short");
    bench_close(&table.bench);
}
END_TEST

/* --- many --- */

START_TEST(test_serials_never_repeat)
{
    struct table table;
    struct slot *slot;
    uint64_t last = 0;

    table_open(&table, ARENA_DIR, 10);
    for (unsigned i = 0; i < 1000; i++) {
        if (i % 100 == 50)
            table_reopen(&table, 10);
        slot = create(&table, "job");
        /* All serials come from one counter, which only grows. */
        ck_assert_uint_gt(slot->arrays[RECORD_SIDE_INPUT].serial, last);
        ck_assert_uint_gt(slot->arrays[RECORD_SIDE_RESULT].serial, slot->arrays[RECORD_SIDE_INPUT].serial);
        ck_assert_uint_gt(slot->serial, slot->arrays[RECORD_SIDE_RESULT].serial);
        last = slot->serial;
        slot_fresh_array(table.slots, slot, RECORD_SIDE_RESULT);
        ck_assert_uint_gt(slot->arrays[RECORD_SIDE_RESULT].serial, last);
        last = slot->arrays[RECORD_SIDE_RESULT].serial;
        ck_assert_uint_eq(slot->arrays[RECORD_SIDE_RESULT].number, last);
        ck_assert_uint_gt(slots_serial(table.slots), last);
        last++;
        slot_destroy(table.slots, slot);
    }
    table_close(&table);
}
END_TEST

START_TEST(test_many)
{
    struct table table;
    struct slot *slot;

    table_open(&table, ARENA_MEMFD, MANY);
    for (unsigned i = 0; i < MANY; i++)
        create_number(&table, i);
    ck_assert_int_eq(try_create(&table, "one more", &slot), -ENOSPC);
    for (unsigned i = 0; i < MANY; i++) {
        slot = find_number(&table, i * 7919 % MANY); /* a prime: each one once */
        ck_assert_ptr_nonnull(slot);
        slot_destroy(table.slots, slot);
    }
    ck_assert_uint_eq(slots_count(table.slots), 0);
    ck_assert_ptr_null(slot_after(table.slots, 0));
    ck_assert_uint_lt(bench_usage(&table.bench).files,
                      2 * MIB); /* shrink has given back the pages of the many */
    for (unsigned i = 0; i < MANY; i++) {
        slot = create_number(&table, i);
        ck_assert_uint_eq(slot_index(table.slots, slot), 1);
        slot_destroy(table.slots, slot);
    }
    table_close(&table);
}
END_TEST

/* Few names, many steps: compares the table with a list of the names that are taken. */
START_TEST(test_against_a_list)
{
    enum { NAMES = 40, STEPS = 50000 };
    uint64_t serials[NAMES] = {0};
    struct table table;
    uint64_t random = 1;
    uint32_t count = 0;

    table_open(&table, ARENA_MEMFD, NAMES / 2);
    for (unsigned step = 0; step < STEPS; step++) {
        struct slot *slot, *made;
        unsigned a, b;
        int result;

        a = (unsigned)(random_next(&random) >> 32) % NAMES;
        b = (unsigned)(random_next(&random) >> 32) % NAMES;
        slot = find_number(&table, a);
        ck_assert_int_eq(slot != NULL, serials[a] != 0);
        if (!slot) {
            result = try_create(&table, numbered(a).text, &made);
            ck_assert_int_eq(result, count < NAMES / 2 ? 0 : -ENOSPC);
            if (result == 0) {
                serials[a] = made->serial;
                count++;
            }
        } else if (!serials[b]) {
            slot_rename(table.slots, slot, numbered(b).text);
            serials[b] = serials[a];
            serials[a] = 0;
        } else {
            ck_assert_uint_eq(slot->serial, serials[a]);
            slot_destroy(table.slots, slot);
            serials[a] = 0;
            count--;
        }
        ck_assert_uint_eq(slots_count(table.slots), count);
    }
    table_close(&table);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slot");
    TCase *tests = tcase_create("table");

    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_fresh_slot);
    tcase_add_test(tests, test_names);
    tcase_add_test(tests, test_rename);
    tcase_add_loop_test(tests, test_growth_and_limit, 0, 6);
    tcase_add_test(tests, test_full_arena);
    tcase_add_test(tests, test_iteration);
    tcase_add_test(tests, test_modes);
    tcase_add_test(tests, test_times);
    tcase_add_test(tests, test_index_survives);
    tcase_add_test(tests, test_index_after_a_crash);
    tcase_add_test(tests, test_foreign_index);
    tcase_add_test(tests, test_index_of_another_size);
    tcase_add_test(tests, test_serials_never_repeat);
    tcase_add_test(tests, test_many);
    tcase_add_test(tests, test_against_a_list);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
