// SPDX-License-Identifier: Apache-2.0
#include "fuse/held.h"

#include "base/container.h"
#include "exchange/run.h"
#include "fuse/nodeid.h"
#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

enum { A_TURN = 16, RELEASES_MAX = 16384 };

struct item {
    TAILQ_ENTRY(item) link;
    uint32_t slots[2]; /* indices; 0: no slot */
    uint64_t serials[2];
    bool is_release;    /* `request` is a RELEASE that is done */
    fuse_req_t request; /* a write that was done; NULL: we hold the bytes of a request */
    uid_t uid;          /* the user whose account of memory has it */
    size_t size;
    char bytes[];
};

struct held {
    struct turn turn;
    bool has_turn; /* it is in the queue of turns, or a turn of it is under way */
    struct request_ops *ops;
    uint32_t releases; /* without an answer */
    TAILQ_HEAD(items, item) items;
};

static void note_slot(struct request_ops *ops, struct item *item, int i, const struct slot *slot)
{
    item->slots[i] = slot ? slot_index(exchange_slots(ops->exchange), slot) : 0;
    item->serials[i] = slot ? slot->serial : 0;
}

static bool may_go_on(struct request_ops *ops, const struct item *item)
{
    for (int i = 0; i < 2; i++) {
        const struct slot *slot = slot_at(exchange_slots(ops->exchange), item->slots[i]);

        if (slot && slot->serial == item->serials[i] && !slot->leaving &&
            !run_is_at_rest(ops->exchange, slot))
            return false;
    }
    return true;
}

static void go_on(struct request_ops *ops, struct item *item)
{
    if (item->is_release) {
        ops->held->releases--;
        request_reply(item->request, 0);
    } else if (item->request) {
        fuse_reply_write(item->request, item->size);
    } else {
        quota_let_go(ops->quota, item->uid, item->size);
        transport_replay(ops->transport, item->bytes, item->size);
    }
    free(item);
}

static enum turn_progress take_turn(struct turn *turn)
{
    struct held *held = container_of(turn, struct held, turn);
    struct item *last = TAILQ_LAST(&held->items, items);

    for (int i = 0; i < A_TURN && !TAILQ_EMPTY(&held->items); i++) {
        struct item *item = TAILQ_FIRST(&held->items);

        TAILQ_REMOVE(&held->items, item, link);
        if (may_go_on(held->ops, item))
            go_on(held->ops, item);
        else
            TAILQ_INSERT_TAIL(&held->items, item, link);
        if (item == last)
            break;
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
    if ((header->opcode != FUSE_RENAME && header->opcode != FUSE_RENAME2) ||
        size < sizeof(*header) + sizeof(directory))
        return;
    memcpy(&directory, bytes + sizeof(*header), sizeof(directory));
    slots[1] = slot_of(ops, directory);
}

static bool is_at_rest(struct request_ops *ops, const struct slot *slot)
{
    return !slot || run_is_at_rest(ops->exchange, slot);
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
    int result;

    if (run_all_at_rest(ops->exchange) || size < sizeof(header))
        return false;
    memcpy(&header, bytes, sizeof(header));
    if (header.opcode == FUSE_FORGET)
        return false; /* FORGET has no answer */
    find_slots(ops, &header, bytes, size, slots);
    if (is_at_rest(ops, slots[0]) && is_at_rest(ops, slots[1]))
        return false;
    caller.uid = header.uid;
    result = request_hold(ops, &caller, size);
    if (result < 0) {
        transport_refuse(ops->transport, header.unique, result);
        return true;
    }
    item = malloc(sizeof(*item) + size);
    if (!item) {
        request_let_go(ops, &caller, size);
        if (header.opcode == FUSE_RELEASE)
            return false; /* it comes once, and the handle must go */
        transport_refuse(ops->transport, header.unique, -ENOMEM);
        return true;
    }
    item->is_release = false;
    item->request = NULL;
    item->uid = header.uid;
    item->size = size;
    memcpy(item->bytes, bytes, size);
    note_slot(ops, item, 0, slots[0]);
    note_slot(ops, item, 1, slots[1]);
    keep(held, item);
    return true;
}

void held_reply_write(struct request_ops *ops, struct slot *slot, fuse_req_t request, size_t size)
{
    struct item *item = is_at_rest(ops, slot) ? NULL : malloc(sizeof(*item));

    if (!item) {
        fuse_reply_write(request, size);
        return;
    }
    /* The step is taken, and what the request was parked in may be freed. */
    fuse_req_interrupt_func(request, NULL, NULL);
    item->is_release = false;
    item->request = request;
    item->size = size;
    note_slot(ops, item, 0, slot);
    note_slot(ops, item, 1, NULL);
    keep(ops->held, item);
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
    item->is_release = true;
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
        if (item->is_release)
            request_reply(item->request, 0);
        else if (item->request)
            fuse_reply_write(item->request, item->size);
        free(item);
    }
    free(ops->held);
    ops->held = NULL;
}
