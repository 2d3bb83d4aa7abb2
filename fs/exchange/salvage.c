// SPDX-License-Identifier: Apache-2.0
#include "exchange/salvage.h"

#include "base/log.h"
#include "exchange/account.h"
#include "exchange/shared.h"
#include "exchange/step.h"
#include "slot/restore.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Whether a slot before this one, or a sound one, has the segment. */
static bool is_claimed(const struct exchange *exchange, const struct slot *slot, uint64_t id)
{
    const struct slot *other;
    uint32_t index = 0;

    for (; (other = slot_after(exchange->slots, index)); index = slot_index(exchange->slots, other)) {
        if (other == slot || (other->damage == SLOT_SET_ASIDE && other > slot))
            continue;
        if (other->arrays[0].segment_id == id || other->arrays[1].segment_id == id)
            return true;
    }
    return false;
}

int salvage_arrays(struct exchange *exchange)
{
    struct slot *slot;
    uint32_t index = 0;

    for (; (slot = slot_after(exchange->slots, index)); index = slot_index(exchange->slots, slot)) {
        for (int side = 0; slot->damage == SLOT_SET_ASIDE && side < 2; side++) {
            uint64_t id = slot->arrays[side].segment_id;

            if (!id || (!is_claimed(exchange, slot, id) && segment_look(exchange->arena, id) == 0))
                continue;
            slot->arrays[side].segment_id = 0;
            slot_mark(slot);
        }
    }
    return 0;
}

static bool has_array(const struct slot *slot, enum record_side side)
{
    return slot->arrays[side].segment_id || slot_inline_size(slot, side);
}

/* Nobody opens the result of a FAILED slot. */
static void describe_result(const struct slot *slot, char *text, size_t size)
{
    const uint64_t id = slot->arrays[RECORD_SIDE_RESULT].segment_id;

    if (id)
        snprintf(text, size, "in the arena's file s%llu", (unsigned long long)id);
    else
        snprintf(text, size, "lost");
}

static void explain(struct exchange *exchange, struct slot *slot)
{
    char text[512], result[64];
    int size;

    describe_result(slot, result, sizeof(result));
    size = snprintf(
        text, sizeof(text),
        "the index of the arena is damaged in the entry of this slot: its name, owner, mode, record, "
        "task and chain are lost. Its input is %s, its result is %s. Copy what you need, then remove "
        "the slot\n",
        has_array(slot, RECORD_SIDE_INPUT) ? "in data.bin" : "lost", result);
    log_error("%s: %.*s", slot->name, size - 1, text);
    account_write_text(exchange, slot, SLOT_ERROR, ACCOUNT_DAEMON, text, (size_t)size, 0);
}

/* Nothing is known of them but their number. */
static void explain_lost(struct exchange *exchange)
{
    const uint32_t lost = slots_lost(exchange->slots);
    static const char name[] = "damaged-index";
    static const struct slot_failure failed = {.cause = CAUSE_DAMAGE};
    char number[16] = "some";
    struct handshake_step step;
    struct slot *slot;
    char text[512];
    int size;

    if (!lost || slot_create(exchange->slots, name, geteuid(), getegid(), 0700, &slot) < 0)
        return;
    quota_add_slot(exchange->quota, account_payer(slot), UINT32_MAX);
    if (lost != SLOTS_LOST_UNKNOWN)
        snprintf(number, sizeof(number), "%u", lost);
    size = snprintf(
        text, sizeof(text),
        "the index of the arena was cut short, and %s slots are lost. Files of the arena that no slot "
        "names any more stay until this slot is removed and the daemon starts again\n",
        number);
    log_error("%s: %.*s", name, size - 1, text);
    step = step_judge(exchange, slot, EVENT_LOST, 0);
    step_fail(exchange, slot, &step, NULL, &failed, text, (size_t)size);
}

void salvage_explain(struct exchange *exchange)
{
    struct slot *slot;
    uint32_t index = 0;

    for (; (slot = slot_after(exchange->slots, index)); index = slot_index(exchange->slots, slot)) {
        if (slot->damage == SLOT_SET_ASIDE)
            explain(exchange, slot);
    }
    explain_lost(exchange);
}

bool salvage_has_damage(struct exchange *exchange)
{
    struct slot *slot;
    uint32_t index = 0;

    for (; (slot = slot_after(exchange->slots, index)); index = slot_index(exchange->slots, slot)) {
        if (slot->failed.cause == CAUSE_DAMAGE)
            return true;
    }
    return false;
}
