// SPDX-License-Identifier: Apache-2.0
/*
 * deaths.c - a server that is killed leaves the state before an operation or the one after it, and no third.
 *
 * A child serves a directory arena and is killed at one point of one operation, in one state: the first, then the
 * second, and so on until the operation has fewer. Then another server starts there. A point is a system call that
 * changes what outlives the process, or a store to memory that does. Without a mount, so that the points are the
 * same each time: test_deaths.py has the same with the kernel and real clients.
 *
 * STRIDE in the environment: every so manyth point, beginning with another one for each operation and state.
 */
#include "../unit/fault_operations.h"
#include "../unit/faults.h"
#include "../unit/slot_files_fixture.h"
#include "../unit/suite.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PICTURE_MAX = 8192, POINTS_MAX = 5000, NOT_REACHED = 7 };

static const char *const names[] = {"job", "other", "next", "made"};
enum { NAMES = sizeof(names) / sizeof(names[0]) };

/* How the arrays came into the slots: through their files, or in one write each, and so inline. */
enum publication { WRITTEN, SENT };

struct death {
    const struct operation *operation; /* NULL: the server dies where it is */
    enum publication publication;
    enum handshake_state state;
    enum faults_effect effect;
    int point; /* 0: none, it dies after the operation */
};

/* --- what a client could tell --- */

static void describe_array(struct world *world, const struct slot *slot, enum record_side side, FILE *out)
{
    const struct record_half half = record_half(&slot->record, side);
    unsigned char bytes[64] = {0};
    uint64_t size = 0, allocated;
    ssize_t got = 0;

    step_array_stat(world->exchange, slot, side, &size, &allocated);
    if (slot_inline_size(slot, side))
        memcpy(bytes, slot->inline_bytes[side], sizeof(bytes));
    else if (slot->segments[side])
        got = segment_read(world->bench.arena, slot->segments[side], bytes, sizeof(bytes), 0);
    ck_assert_int_ge(got, 0);
    fprintf(out, "\n  %s: length %lld, dtype %d, %llu bytes ", slot_file_name(slot_file_of_side(side)),
            (long long)half.length, (int)half.dtype, (unsigned long long)size);
    for (size_t i = 0; i < sizeof(bytes) && i < size; i++)
        fprintf(out, "%02x", bytes[i]);
}

static void describe_slot(struct world *world, const struct slot *slot, FILE *out)
{
    static char words[WORLD_TEXT_MAX];

    fprintf(out, "%s, round %llu, input %u, taken %u, uid %u, source %u, cause %u",
            handshake_state_name(slot_state(slot)), (unsigned long long)slot->record.round, slot->has_input,
            slot->outcome_taken, (unsigned)slot->uid, slot->source, slot->failed.cause);
    describe_array(world, slot, RECORD_SIDE_INPUT, out);
    describe_array(world, slot, RECORD_SIDE_RESULT, out);
    world_text(world, slot, SLOT_TASK, words);
    fprintf(out, "\n  task \"%s\"", words);
    world_text(world, slot, SLOT_ERROR, words);
    fprintf(out, "\n  error \"%s\"", words);
}

static void describe(struct world *world, char text[PICTURE_MAX])
{
    FILE *out = fmemopen(text, PICTURE_MAX, "w");

    ck_assert_ptr_nonnull(out);
    for (int i = 0; i < NAMES; i++) {
        const struct slot *slot = slot_find(world->slots, names[i]);

        fprintf(out, "\n%s: ", names[i]);
        if (slot)
            describe_slot(world, slot, out);
        else
            fprintf(out, "none");
    }
    fclose(out);
}

/* --- one death --- */

/* What the loop does before it answers a request, and then until all is at rest. */
static void settle(struct world *world)
{
    exchange_commit(world->exchange);
    background_drain(world->bench.background);
    world_rest(world);
    exchange_commit(world->exchange);
}

static void set_up(struct trial *trial, const struct death *death)
{
    struct slot *(*in)(struct world *, const char *, enum handshake_state) =
        death->publication == SENT ? world_slot_sent_in : world_slot_in;

    world_start(&trial->world);
    trial->other = in(&trial->world, "other", STATE_DONE);
    trial->slot = in(&trial->world, "job", death->state);
    world_follow(&trial->world, "next", trial->slot, RECORD_SIDE_RESULT);
    settle(&trial->world);
}

/* A server in a child, on the files of `world`, which is stopped. */
static _Noreturn void live_and_die(const struct world *world, const struct death *death)
{
    struct trial trial = {.world = *world};

    set_up(&trial, death);
    if (death->point)
        faults_arm(death->point, death->effect);
    if (death->operation) {
        death->operation->run(&trial);
        settle(&trial.world);
    }
    if (death->point && !faults_disarm())
        _exit(NOT_REACHED);
    kill(getpid(), SIGKILL);
    abort();
}

/* What the next server finds. Returns false if there was no such point. */
static bool find_after(const struct death *death, char text[PICTURE_MAX])
{
    struct world_options options = world_defaults();
    struct world world;
    int status;
    pid_t child;

    options.kind = ARENA_DIR;
    options.data_path = DATA_PATH_PAGE_CACHE;
    ck_assert(world_try_begin(&world, &options));
    world_stop(&world);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        live_and_die(&world, death);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == NOT_REACHED);
    world_start(&world);
    settle(&world);
    describe(&world, text);
    world_end(&world);
    return WIFSIGNALED(status);
}

/* --- all of them --- */

static struct counts {
    int points, neither;
} * counted; /* by all processes */

static int stride = 1;

static void die_at(struct death *death, char before[PICTURE_MAX], char after[PICTURE_MAX])
{
    static char found[PICTURE_MAX];

    for (death->point = 1 + counted->points % stride; find_after(death, found); death->point += stride) {
        ck_assert_int_lt(death->point, POINTS_MAX);
        counted->points++;
        if (strcmp(found, before) == 0 || strcmp(found, after) == 0)
            continue;
        counted->neither++;
        printf("%s, in %s, killed %s %s (point %d), leaves%s\n\nand neither%s\n\nnor%s\n\n",
               death->operation->name, handshake_state_name(death->state),
               death->effect == FAULTS_DIE_BEFORE ? "before" : "after", faults->name, death->point, found,
               before, after);
        fflush(stdout);
    }
}

static void die_everywhere(const struct operation *operation, enum publication publication,
                           enum handshake_state state)
{
    static char before[PICTURE_MAX], after[PICTURE_MAX];
    struct death death = {.publication = publication, .state = state};

    find_after(&death, before);
    death.operation = operation;
    find_after(&death, after);
    death.effect = FAULTS_DIE_BEFORE;
    die_at(&death, before, after);
    death.effect = FAULTS_DIE_AFTER;
    die_at(&death, before, after);
}

START_TEST(test_deaths)
{
    const int neither = counted->neither;

    for (int state = 0; state < HANDSHAKE_STATES; state++) {
        die_everywhere(&operations[_i], WRITTEN, (enum handshake_state)state);
        if (state >= STATE_READY)
            die_everywhere(&operations[_i], SENT, (enum handshake_state)state);
    }
    ck_assert_int_eq(counted->neither, neither);
}
END_TEST

/* Memory that this process and its children share. */
static void *share(size_t size)
{
    void *start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (start == MAP_FAILED)
        exit(EXIT_FAILURE);
    return start;
}

int main(void)
{
    const char *asked = getenv("STRIDE");
    Suite *suite = suite_create("deaths");
    TCase *tests = tcase_create("the state before or the one after");
    int result;

    faults = share(sizeof(*faults));
    counted = share(sizeof(*counted));
    stride = asked ? (int)strtol(asked, NULL, 10) : 1;
    if (stride < 1)
        return EXIT_FAILURE;
    tcase_set_timeout(tests, 3600);
    tcase_add_loop_test(tests, test_deaths, 0, operations_count);
    suite_add_tcase(suite, tests);
    result = suite_run(suite);
    printf("%d operations in %d states: killed at %d points, %d left neither the state before nor the one "
           "after\n",
           operations_count, HANDSHAKE_STATES, counted->points, counted->neither);
    return counted->points > 0 ? result : EXIT_FAILURE;
}
