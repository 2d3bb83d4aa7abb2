// SPDX-License-Identifier: Apache-2.0
#include "parked.h"

#include <check.h>
#include <stdlib.h>

static int retry_open(struct wait *wait)
{
    struct parked *parked = container_of(wait, struct parked, wait);

    parked->tries++;
    return array_open(parked->world->exchange, wait->slot, parked->handle, &parked->caller, parked->identity);
}

static int retry_flag(struct wait *wait)
{
    struct parked *parked = container_of(wait, struct parked, wait);

    parked->tries++;
    return world_try_write(parked->world, wait->slot, &parked->caller, &parked->flag, sizeof(parked->flag),
                           0);
}

static void note_end(struct wait *wait, int result)
{
    struct parked *parked = container_of(wait, struct parked, wait);

    parked->ends++;
    parked->world->done++;
    parked->result = result;
}

static struct parked *park(struct world *world, struct slot *slot, enum handshake_event event,
                           int (*retry)(struct wait *wait), struct handle *handle, int32_t flag, int why)
{
    struct parked *parked = calloc(1, sizeof(*parked));
    int result;

    ck_assert_ptr_nonnull(parked);
    parked->world = world;
    parked->handle = handle;
    parked->flag = flag;
    parked->caller = world->caller;
    parked->wait = (struct wait){.slot = slot, .event = event};
    parked->wait.process = world->caller.process;
    parked->wait.retry = retry;
    parked->wait.end = note_end;
    if (handle)
        parked->identity = step_array_identity(world->exchange, slot, slot_file_side(handle->file));
    while ((result = retry(&parked->wait)) == WAIT_FOR_WORK && why == WAIT_FOR_PEER)
        background_drain(world->bench.background);
    ck_assert_int_eq(result, why);
    wait_park(world->exchange, &parked->wait, slot, why);
    return parked;
}

struct parked *world_park_open(struct world *world, struct slot *slot, enum slot_file file)
{
    return park(world, slot, file == SLOT_DATA_BIN ? EVENT_OPEN_INPUT_READ : EVENT_OPEN_RESULT_READ,
                retry_open, world_handle(file, HANDLE_READS), 0, WAIT_FOR_PEER);
}

static struct parked *park_flag(struct world *world, struct slot *slot, int32_t flag, int why)
{
    return park(world, slot, flag == RECORD_FLAG_INPUT ? EVENT_FLAG_INPUT : EVENT_FLAG_RESULT, retry_flag,
                NULL, flag, why);
}

struct parked *world_park_flag(struct world *world, struct slot *slot, int32_t flag)
{
    return park_flag(world, slot, flag, WAIT_FOR_PEER);
}

struct parked *world_park_working(struct world *world, struct slot *slot, int32_t flag)
{
    return park_flag(world, slot, flag, WAIT_FOR_WORK);
}

void expect_parked(const struct parked *parked)
{
    ck_assert_msg(parked->ends == 0, "it ended with %d", parked->result);
}

void expect_ended(struct parked *parked, int result)
{
    world_rest(parked->world);
    ck_assert_int_eq(parked->ends, 1);
    ck_assert_int_eq(parked->result, result);
    if (parked->handle) {
        ck_assert_int_eq(parked->handle->segment != NULL, result == 0);
        array_close(parked->world->exchange, parked->handle);
    }
    free(parked->handle);
    free(parked);
}
