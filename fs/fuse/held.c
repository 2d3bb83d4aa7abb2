// SPDX-License-Identifier: Apache-2.0
#include "fuse/held.h"

#include "base/container.h"
#include "exchange/durable.h"
#include "exchange/run.h"
#include "files/slot_files.h"
#include "fuse/nodeid.h"
#include "slot/handle.h"
#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

enum { A_TURN = 16, RELEASES_MAX = 16384 };

/* As many turns of ours have a pass of the loop between them, which serves what the kernel has in its queue. */
enum { TURNS_OF_A_PASS = 2 };

/* The kernel sends a RELEASE when no request uses the handle any more, so it may go before any request. */
enum item_kind { REQUEST, RELEASE, ANSWER_TO_WRITE, ANSWER_TO_RELEASE };

struct item {
    TAILQ_ENTRY(item) link;
    enum item_kind kind;
    uint32_t slots[2]; /* indices; 0: no slot */
    uint64_t serials[2];
    int turns;          /* that it lets pass; see may_be_early */
    fuse_req_t request; /* of an answer to RELEASE, which was done */
    struct held_write write;
    uint32_t record; /* of an answer to a write: in the journal */
    uid_t uid;       /* of the bytes of a request: the user whose account of memory has them */
    size_t size;
    char bytes[];
};

/* What we hold for a slot. */
struct line {
    uint64_t serial; /* of the slot */
    uint32_t requests, releases;
    uint64_t round; /* in which one of the requests had to stay: those behind it stay as well */
};

struct held {
    struct turn turn;
    bool has_turn; /* it is in the queue of turns, or a turn of it is under way */
    struct request_ops *ops;
    uint32_t releases; /* without an answer */
    TAILQ_HEAD(items, item) items;
    struct item *next;   /* where the next turn begins; NULL: with the first, in another round */
    uint64_t round;      /* of turns, through all items */
    struct line *lines;  /* by slot index */
    uint32_t line_count; /* room for so many */
};

static void note_slot(struct request_ops *ops, struct item *item, int i, const struct slot *slot)
{
    item->slots[i] = slot ? slot_index(exchange_slots(ops->exchange), slot) : 0;
    item->serials[i] = slot ? slot->serial : 0;
}

static bool has_line(const struct held *held, const struct slot *slot)
{
    uint32_t index = slot_index(exchange_slots(held->ops->exchange), slot);
    const struct line *line = index < held->line_count ? &held->lines[index] : NULL;

    return line && line->serial == slot->serial && line->requests + line->releases > 0;
}

/* Makes the line of the i-th slot of an item. Returns false if there is no memory. */
static bool make_line(struct held *held, const struct item *item, int i)
{
    uint32_t index = item->slots[i];

    if (index >= held->line_count) {
        uint32_t count = held->line_count < 64 ? 64 : held->line_count;
        struct line *lines;

        while (count <= index)
            count *= 2;
        lines = realloc(held->lines, count * sizeof(*lines));
        if (!lines)
            return false;
        memset(lines + held->line_count, 0, (count - held->line_count) * sizeof(*lines));
        held->lines = lines;
        held->line_count = count;
    }
    if (held->lines[index].serial != item->serials[i])
        held->lines[index] = (struct line){.serial = item->serials[i]};
    return true;
}

/* The line of the i-th slot of a held request; NULL if it has none. */
static struct line *line_of(struct held *held, const struct item *item, int i)
{
    struct line *line;

    if ((item->kind != REQUEST && item->kind != RELEASE) || !item->slots[i])
        return NULL;
    line = &held->lines[item->slots[i]];
    return line->serial == item->serials[i] ? line : NULL;
}

static void count(struct held *held, const struct item *item, int change)
{
    for (int i = 0; i < 2; i++) {
        struct line *line = line_of(held, item, i);

        if (line && item->kind == RELEASE)
            line->releases += (uint32_t)change;
        else if (line)
            line->requests += (uint32_t)change;
    }
}

static bool must_stay(struct held *held, struct item *item)
{
    struct exchange *exchange = held->ops->exchange;

    if (item->turns > 0) {
        item->turns--;
        return true;
    }
    for (int i = 0; i < 2; i++) {
        const struct slot *slot = slot_at(exchange_slots(exchange), item->slots[i]);
        const struct line *line = line_of(held, item, i);

        if (!slot || slot->serial != item->serials[i] || slot->leaving)
            continue;
        if (!run_is_at_rest(exchange, slot))
            return true;
        if (line && item->kind == REQUEST && (line->releases > 0 || line->round == held->round))
            return true;
    }
    return false;
}

static void stay(struct held *held, const struct item *item)
{
    for (int i = 0; i < 2; i++) {
        struct line *line = line_of(held, item, i);

        if (line && item->kind == REQUEST)
            line->round = held->round;
    }
}

static void send_answer(struct request_ops *ops, const struct held_write *write, uint32_t record)
{
    fuse_reply_write(write->request, write->size);
    journal_drop(&ops->journal, record);
    if (write->published_us)
        histogram_add(&ops->publishing, deadline_now_us() - write->published_us);
}

static void go_on(struct held *held, struct item *item)
{
    struct request_ops *ops = held->ops;

    count(held, item, -1);
    switch (item->kind) {
    case REQUEST:
    case RELEASE:
        quota_let_go(ops->quota, item->uid, item->size);
        transport_replay(ops->transport, item->bytes, item->size);
        break;
    case ANSWER_TO_WRITE:
        send_answer(ops, &item->write, item->record);
        break;
    case ANSWER_TO_RELEASE:
        held->releases--;
        request_reply(item->request, 0);
        break;
    }
    free(item);
}

static enum turn_progress take_turn(struct turn *turn)
{
    struct held *held = container_of(turn, struct held, turn);

    if (!held->next) {
        held->next = TAILQ_FIRST(&held->items);
        held->round++;
    }
    for (int i = 0; i < A_TURN && held->next; i++) {
        struct item *item = held->next;

        held->next = TAILQ_NEXT(item, link);
        if (must_stay(held, item)) {
            stay(held, item);
        } else {
            TAILQ_REMOVE(&held->items, item, link);
            go_on(held, item);
        }
    }
    held->has_turn = !TAILQ_EMPTY(&held->items);
    return held->has_turn ? TURN_AGAIN : TURN_DONE;
}

/* Do nothing: libfuse lists the requests and frees them with the session. */
static void give_up(struct turn *turn)
{
    (void)turn;
}

static void keep(struct held *held, struct item *item)
{
    if (!held->has_turn)
        turn_add(held->ops->turns, &held->turn);
    held->has_turn = true;
    TAILQ_INSERT_TAIL(&held->items, item, link);
    count(held, item, 1);
}

static bool is_move(const struct fuse_in_header *header)
{
    return header->opcode == FUSE_RENAME || header->opcode == FUSE_RENAME2;
}

/* The slot that a nodeid stands for; NULL if it stands for another thing, or the slot is gone. */
static struct slot *slot_of(struct request_ops *ops, uint64_t nodeid)
{
    struct nodeid_target inode;

    return nodeid_decode(ops->exchange, nodeid, &inode) == 0 && inode.kind == NODEID_SLOT ? inode.slot : NULL;
}

/* Finds a request's slots: its inode's, and the target directory's if it moves a file. */
static void find_slots(struct request_ops *ops, const struct fuse_in_header *header, const char *bytes,
                       size_t size, struct slot *slots[2])
{
    uint64_t directory;

    slots[0] = slot_of(ops, header->nodeid);
    if (!is_move(header) || size < sizeof(*header) + sizeof(directory))
        return;
    memcpy(&directory, bytes + sizeof(*header), sizeof(directory));
    slots[1] = slot_of(ops, directory);
}

static bool is_free(struct held *held, const struct slot *slot)
{
    return !slot || (run_is_at_rest(held->ops->exchange, slot) && !has_line(held, slot));
}

static bool is_being_written(const struct slot *slot)
{
    for (int side = 0; slot && side < 2; side++) {
        const struct segment *segment = slot->segments[side];

        if (segment && !segment->published && handle_writes_segment(slot, segment))
            return true;
    }
    return false;
}

static bool has_write_back(const struct request_ops *ops)
{
    return exchange_data_path(ops->exchange) != DATA_PATH_PASSTHROUGH;
}

/*
 * A write of the record, or a move, that may have overtaken the RELEASE of the array that it publishes. munmap
 * waits until our answer to the last WRITE of the mapping's pages has ended their write-back; but the kernel
 * lets go of the file, and queues the RELEASE, only after that, while it still works on our answer. So when we
 * read the next request, the RELEASE stands in the queue, perhaps behind this one.
 */
static bool may_be_early(struct request_ops *ops, const struct fuse_in_header *header,
                         struct slot *const slots[2])
{
    struct nodeid_target inode;

    if (!has_write_back(ops))
        return false;
    if (header->opcode == FUSE_WRITE) {
        if (nodeid_decode(ops->exchange, header->nodeid, &inode) < 0 || inode.kind != NODEID_SLOT ||
            slot_files_row(inode.file)->kind == SLOT_FILES_ARRAY)
            return false;
    } else if (!is_move(header)) {
        return false;
    }
    return is_being_written(slots[0]);
}

/* Whether we may need to hold a request, as far as one can tell without looking for its slots. */
static bool concerns_us(const struct held *held, const struct fuse_in_header *header)
{
    if (header->opcode == FUSE_FORGET || header->opcode == FUSE_BATCH_FORGET)
        return false; /* they have no answer */
    return !TAILQ_EMPTY(&held->items) || !run_all_at_rest(held->ops->exchange) ||
           (has_write_back(held->ops) && (header->opcode == FUSE_WRITE || is_move(header)));
}

/* Returns whether we held the request, or refused it because we hold too much for its client. */
static bool hold(void *context, const void *bytes, size_t size)
{
    struct held *held = context;
    struct request_ops *ops = held->ops;
    struct slot *slots[2] = {NULL, NULL};
    struct fuse_in_header header;
    struct caller caller = {0};
    struct item *item;
    bool is_release, is_busy, is_early;
    int result;

    if (size < sizeof(header))
        return false;
    memcpy(&header, bytes, sizeof(header));
    if (!concerns_us(held, &header))
        return false;
    is_release = header.opcode == FUSE_RELEASE;
    find_slots(ops, &header, bytes, size, slots);
    if (is_release)
        is_busy = !run_is_at_rest(ops->exchange, slots[0]);
    else
        is_busy = !is_free(held, slots[0]) || !is_free(held, slots[1]);
    is_early = may_be_early(ops, &header, slots);
    if (!is_busy && !is_early)
        return false;
    caller.uid = header.uid;
    result = request_hold(ops, &caller, size);
    if (result < 0) {
        if (!is_busy)
            return false;
        transport_refuse(ops->transport, header.unique, result);
        return true;
    }
    item = malloc(sizeof(*item) + size);
    if (item) {
        *item = (struct item){.kind = is_release ? RELEASE : REQUEST,
                              .turns = is_early ? TURNS_OF_A_PASS : 0,
                              .uid = header.uid,
                              .size = size};
        memcpy(item->bytes, bytes, size);
        note_slot(ops, item, 0, slots[0]);
        note_slot(ops, item, 1, slots[1]);
        if (!make_line(held, item, 0) || !make_line(held, item, 1)) {
            free(item);
            item = NULL;
        }
    }
    if (!item) {
        request_let_go(ops, &caller, size);
        if (is_release || !is_busy)
            return false; /* a RELEASE comes once, and the handle must go */
        transport_refuse(ops->transport, header.unique, -ENOMEM);
        return true;
    }
    keep(held, item);
    return true;
}

/* record: in the journal, KEEP_NONE if it does not know yet that the write was done. */
static void answer_write(struct request_ops *ops, struct slot *slot, const struct held_write *write,
                         uint32_t record)
{
    struct item *item = run_is_at_rest(ops->exchange, slot) ? NULL : malloc(sizeof(*item));

    if (!item) {
        send_answer(ops, write, record);
        return;
    }
    /* The step is taken, and what the request was parked in may be freed. */
    fuse_req_interrupt_func(write->request, NULL, NULL);
    *item = (struct item){.kind = ANSWER_TO_WRITE, .write = *write};
    item->record = record == KEEP_NONE ? journal_hold(&ops->journal, write->unique) : record;
    note_slot(ops, item, 0, slot);
    keep(ops->held, item);
}

/* A write whose step is on its way to the disk. */
struct on_its_way {
    struct durable_wait wait;
    struct request_ops *ops;
    struct held_write write;
    uint32_t record; /* in the journal */
    uint32_t slot;   /* its index, */
    uint64_t serial; /* and which one that was */
};

static void arrived(struct durable_wait *wait, int result)
{
    struct on_its_way *way = container_of(wait, struct on_its_way, wait);
    struct slot *slot = slot_at(exchange_slots(way->ops->exchange), way->slot);

    if (result == 0 && slot && slot->serial == way->serial && way->ops->held) {
        answer_write(way->ops, slot, &way->write, way->record);
    } else if (result == 0) {
        send_answer(way->ops, &way->write, way->record);
    } else {
        request_reply(way->write.request, -EIO);
        journal_drop(&way->ops->journal, way->record);
    }
    free(way);
}

void held_reply_write(struct request_ops *ops, struct slot *slot, const struct held_write *write)
{
    struct on_its_way *way = durable_is_kept(ops->exchange) ? NULL : malloc(sizeof(*way));

    if (!way) {
        answer_write(ops, slot, write, KEEP_NONE);
        return;
    }
    /* As above. */
    fuse_req_interrupt_func(write->request, NULL, NULL);
    *way = (struct on_its_way){.wait.done = arrived,
                               .ops = ops,
                               .write = *write,
                               .record = journal_hold(&ops->journal, write->unique),
                               .slot = slot_index(exchange_slots(ops->exchange), slot),
                               .serial = slot->serial};
    durable_await(ops->exchange, &way->wait);
}

void held_reply_release(struct request_ops *ops, fuse_req_t request)
{
    struct item *item = NULL;

    if (transport_is_behind(ops->transport) && ops->held->releases < RELEASES_MAX)
        item = calloc(1, sizeof(*item));
    if (!item) {
        request_reply(request, 0);
        return;
    }
    item->kind = ANSWER_TO_RELEASE;
    item->request = request;
    ops->held->releases++;
    keep(ops->held, item);
}

int held_init(struct request_ops *ops)
{
    struct held *held = calloc(1, sizeof(*held));

    if (!held)
        return -ENOMEM;
    held->ops = ops;
    held->turn = (struct turn){.take = take_turn, .give_up = give_up};
    TAILQ_INIT(&held->items);
    ops->held = held;
    transport_hold(ops->transport, hold, held);
    return 0;
}

void held_deinit(struct request_ops *ops)
{
    struct item *item;

    if (!ops->held)
        return;
    transport_hold(ops->transport, NULL, NULL);
    while ((item = TAILQ_FIRST(&ops->held->items))) {
        TAILQ_REMOVE(&ops->held->items, item, link);
        if (item->kind == ANSWER_TO_RELEASE)
            request_reply(item->request, 0);
        else if (item->kind == ANSWER_TO_WRITE)
            fuse_reply_write(item->write.request, item->write.size);
        free(item);
    }
    free(ops->held->lines);
    free(ops->held);
    ops->held = NULL;
}
