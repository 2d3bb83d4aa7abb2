// SPDX-License-Identifier: Apache-2.0
/*
 * handshake WAIT WHAT SLOT ROUNDS - how long two processes need to take turns.
 *
 * WAIT: futex     on `change` in the mapped page
 *       poll      on metadata.bin
 *       pipe      no slot at all: a byte through a pair of pipes, the price of two wake-ups
 * WHAT: turn      flag 0 there, flag 1 back, empty arrays
 *       exchange  ten doubles there and ten back, opens included
 *       send      the same, each published in one write of metadata.bin and read from the mapped page
 *
 * Prints the seconds of each round.
 */
#include "client.h"
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { ELEMENTS = 10, PATIENCE_S = 20 };

enum wait_by { WAIT_FUTEX, WAIT_POLL };
enum what { TURN, EXCHANGE, SEND, WHATS };

static const char *const names[WHATS] = {"turn", "exchange", "send"};

struct peer {
    const char *slot;
    int metadata;
    int mem;
    enum wait_by wait_by;
    struct record_page *page; /* mapped for WAIT_FUTEX, else a copy */
    struct record *record;    /* in it */
};

static void read_page(struct peer *peer)
{
    if (pread(peer->mem, peer->page, sizeof(*peer->page), 0) != (ssize_t)sizeof(*peer->page))
        fail("metadata.mem");
}

static void peer_init(struct peer *peer, const char *slot, enum wait_by wait_by)
{
    *peer = (struct peer){.slot = slot,
                          .metadata = open_in(slot, "metadata.bin", O_RDWR),
                          .mem = open_in(slot, "metadata.mem", O_RDONLY),
                          .wait_by = wait_by};
    if (wait_by == WAIT_POLL) {
        peer->page = calloc(1, sizeof(*peer->page));
        if (peer->page == NULL)
            fail("calloc");
        read_page(peer);
    } else {
        peer->page = mmap(NULL, sizeof(*peer->page), PROT_READ, MAP_SHARED, peer->mem, 0);
        if (peer->page == MAP_FAILED)
            fail("mmap of metadata.mem");
    }
    peer->record = &peer->page->record;
}

/* `change` is read before flag: a step in between makes FUTEX_WAIT return at once. */
static bool flag_is(struct peer *peer, enum record_flag flag, uint32_t *change)
{
    *change = __atomic_load_n(&peer->record->change, __ATOMIC_ACQUIRE);
    return __atomic_load_n(&peer->record->flag, __ATOMIC_ACQUIRE) == (int32_t)flag;
}

static void await_futex(struct peer *peer, enum record_flag flag)
{
    const struct timespec patience = {.tv_sec = PATIENCE_S};
    uint32_t change;

    while (!flag_is(peer, flag, &change)) {
        if (syscall(SYS_futex, &peer->record->change, FUTEX_WAIT, change, &patience, NULL, 0) != 0 &&
            errno != EAGAIN && errno != EINTR)
            fail("futex");
    }
}

static void await_poll(struct peer *peer, enum record_flag flag)
{
    for (;;) {
        if (pread(peer->metadata, peer->record, sizeof(*peer->record), 0) != (ssize_t)sizeof(*peer->record))
            fail("metadata.bin");
        if (peer->record->flag == (int32_t)flag)
            return;
        struct pollfd entry = {.fd = peer->metadata, .events = POLLIN};
        if (poll(&entry, 1, PATIENCE_S * 1000) != 1) {
            errno = ETIMEDOUT;
            fail("poll");
        }
    }
}

static void await_flag(struct peer *peer, enum record_flag flag)
{
    if (peer->wait_by == WAIT_FUTEX)
        await_futex(peer, flag);
    else
        await_poll(peer, flag);
}

static void put(struct peer *peer, const char *name, const double values[ELEMENTS])
{
    int fd = open_in(peer->slot, name, O_WRONLY | O_CREAT);
    if (write(fd, values, ELEMENTS * sizeof(double)) != ELEMENTS * (ssize_t)sizeof(double))
        fail(name);
    close_fd(fd);
}

static void get(struct peer *peer, const char *name, double values[ELEMENTS])
{
    int fd = open_in(peer->slot, name, O_RDONLY);
    if (read(fd, values, ELEMENTS * sizeof(double)) != ELEMENTS * (ssize_t)sizeof(double))
        fail(name);
    close_fd(fd);
}

/* Copies without the sequence lock: nobody changes the page before this side has answered or begun the next round. */
static void take(struct peer *peer, enum record_flag flag, double values[ELEMENTS])
{
    bool is_input = flag == RECORD_FLAG_INPUT;

    if (peer->wait_by == WAIT_POLL)
        read_page(peer);
    if ((is_input ? peer->record->input_inline : peer->record->result_inline) != ELEMENTS * sizeof(double)) {
        fprintf(stderr, "%s: the array is not in the page\n", peer->slot);
        exit(EXIT_FAILURE);
    }
    memcpy(values, is_input ? peer->page->input : peer->page->result, ELEMENTS * sizeof(double));
}

static void send_array(struct peer *peer, enum record_flag flag, const double values[ELEMENTS])
{
    struct {
        struct record record;
        double values[ELEMENTS];
    } image = {.record = *peer->record};

    image.record.flag = flag;
    if (flag == RECORD_FLAG_INPUT)
        image.record.input_length = ELEMENTS;
    else
        image.record.result_length = ELEMENTS;
    memcpy(image.values, values, sizeof(image.values));
    publish(peer->metadata, &image, sizeof(image));
}

static void consume_turn(struct peer *peer)
{
    await_flag(peer, RECORD_FLAG_INPUT);
    struct record answer = *peer->record;
    answer.flag = RECORD_FLAG_RESULT;
    answer.result_length = 0;
    publish(peer->metadata, &answer, offsetof(struct record, round));
}

static void consume_exchange(struct peer *peer)
{
    double values[ELEMENTS];

    await_flag(peer, RECORD_FLAG_INPUT);
    get(peer, "data.bin", values);
    for (size_t i = 0; i < ELEMENTS; i++)
        values[i] += 1;
    put(peer, "result.bin", values);
    publish_flag(peer->metadata, RECORD_FLAG_RESULT);
}

static void consume_sent(struct peer *peer)
{
    double values[ELEMENTS];

    await_flag(peer, RECORD_FLAG_INPUT);
    take(peer, RECORD_FLAG_INPUT, values);
    for (size_t i = 0; i < ELEMENTS; i++)
        values[i] += 1;
    send_array(peer, RECORD_FLAG_RESULT, values);
}

static double produce_turn(struct peer *peer)
{
    close_fd(open_in(peer->slot, "data.bin", O_WRONLY | O_CREAT));

    double start = seconds();
    publish_flag(peer->metadata, RECORD_FLAG_INPUT);
    await_flag(peer, RECORD_FLAG_RESULT);
    return seconds() - start;
}

static void publish_input(struct peer *peer, enum what what, const double values[ELEMENTS])
{
    if (what == SEND) {
        send_array(peer, RECORD_FLAG_INPUT, values);
        return;
    }
    put(peer, "data.bin", values);
    publish_flag(peer->metadata, RECORD_FLAG_INPUT);
}

static double produce_exchange(struct peer *peer, enum what what)
{
    double values[ELEMENTS] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    double results[ELEMENTS];

    double start = seconds();
    publish_input(peer, what, values);
    await_flag(peer, RECORD_FLAG_RESULT);
    if (what == SEND)
        take(peer, RECORD_FLAG_RESULT, results);
    else
        get(peer, "result.bin", results);
    double end = seconds();

    for (size_t i = 0; i < ELEMENTS; i++) {
        if (results[i] != values[i] + 1) {
            fprintf(stderr, "%s: a wrong result\n", peer->slot);
            exit(EXIT_FAILURE);
        }
    }
    return end - start;
}

/* The consumer dies with the producer, however that one ends. */
static pid_t fork_consumer(void)
{
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
}

static int slot_rounds(const char *slot, enum wait_by wait_by, enum what what, long rounds)
{
    static void (*const consumers[WHATS])(struct peer *) = {consume_turn, consume_exchange, consume_sent};
    struct peer peer;

    pid_t child = fork_consumer();
    peer_init(&peer, slot, wait_by);
    for (long round = 0; round < rounds; round++) {
        if (child == 0)
            consumers[what](&peer);
        else
            printf("%.9f\n", what == TURN ? produce_turn(&peer) : produce_exchange(&peer, what));
    }
    return child == 0 ? 0 : waitpid(child, NULL, 0) != child;
}

static int pipe_rounds(long rounds)
{
    int there[2], back[2];
    char byte = 0;

    if (pipe2(there, O_CLOEXEC) != 0 || pipe2(back, O_CLOEXEC) != 0)
        fail("pipe");
    if (fork_consumer() == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1)
            if (write(back[1], &byte, 1) != 1)
                fail("pipe");
        return 0;
    }
    for (long round = 0; round < rounds; round++) {
        double start = seconds();
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            fail("pipe");
        printf("%.9f\n", seconds() - start);
    }
    return 0;
}

int main(int argc, char **argv)
{
    enum what what = TURN;

    if (argc == 5 && strcmp(argv[1], "pipe") == 0)
        return pipe_rounds(positive(argv[4]));
    while (argc == 5 && what < WHATS && strcmp(argv[2], names[what]) != 0)
        what++;
    if (argc != 5 || (strcmp(argv[1], "futex") != 0 && strcmp(argv[1], "poll") != 0) || what == WHATS) {
        fprintf(stderr, "usage: handshake futex|poll|pipe turn|exchange|send SLOT ROUNDS\n");
        return 2;
    }
    return slot_rounds(argv[3], argv[1][0] == 'f' ? WAIT_FUTEX : WAIT_POLL, what, positive(argv[4]));
}
