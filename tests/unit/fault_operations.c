// SPDX-License-Identifier: Apache-2.0
#include "fault_operations.h"

#include "exchange/account.h"
#include "outcome.h"
#include "slot_files_fixture.h"
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void close_handle(struct trial *trial)
{
    struct handle *handle = trial->handle;

    if (!handle)
        return;
    trial->handle = NULL;
    if (slot_files_row(handle->file)->kind == SLOT_FILES_ARRAY) {
        world_close(&trial->world, handle);
        return;
    }
    slot_files_close(trial->world.exchange, handle);
    handle_delist(handle);
    free(handle);
}

/* As the kernel does it: where the path is another array's now, it looks there at once. */
static int open_array(struct trial *trial, enum slot_file file, enum handle_access access)
{
    struct world *world = &trial->world;
    struct handle *handle;
    int result = -ESTALE;

    for (int tries = 0; result == -ESTALE && tries < 2; tries++) {
        handle = calloc(1, sizeof(*handle));
        ck_assert_ptr_nonnull(handle);
        handle->file = file;
        handle->access = access;
        result = array_open(world->exchange, trial->slot, handle, &world->caller,
                            step_array_identity(world->exchange, trial->slot, slot_file_side(file)));
        if (result == 0)
            trial->handle = handle;
        else
            free(handle);
    }
    if (result == 0 && copy_is_owed(trial->slot, slot_file_side(file))) {
        struct outcome outcome = {0};

        array_fill_holes(world->exchange, trial->slot, slot_file_side(file), &world->caller, outcome_note,
                         &outcome);
        background_drain(world->bench.background);
        result = outcome.result;
    }
    return result;
}

static int open_data_to_write(struct trial *trial)
{
    return open_array(trial, SLOT_DATA_BIN, HANDLE_WRITES);
}

static int open_data_to_read(struct trial *trial)
{
    return open_array(trial, SLOT_DATA_BIN, HANDLE_READS);
}

int open_result_to_write(struct trial *trial)
{
    return open_array(trial, SLOT_RESULT_BIN, HANDLE_WRITES);
}

static int open_result_to_read(struct trial *trial)
{
    return open_array(trial, SLOT_RESULT_BIN, HANDLE_READS);
}

static int resize(struct trial *trial, enum record_side side, enum reserve_mode mode, uint64_t size)
{
    struct outcome outcome = {0};

    array_resize(trial->world.exchange, trial->slot, side, NULL, &trial->world.caller, mode, size,
                 outcome_note, &outcome);
    background_drain(trial->world.bench.background);
    ck_assert_int_eq(outcome.calls, 1);
    return outcome.result;
}

static int truncate_data(struct trial *trial)
{
    return resize(trial, RECORD_SIDE_INPUT, RESERVE_RESIZE, 4096);
}

static int truncate_data_far(struct trial *trial)
{
    return resize(trial, RECORD_SIDE_INPUT, RESERVE_RESIZE, MIB);
}

static int truncate_result(struct trial *trial)
{
    return resize(trial, RECORD_SIDE_RESULT, RESERVE_RESIZE, 4096);
}

static int allocate_data(struct trial *trial)
{
    return resize(trial, RECORD_SIDE_INPUT, RESERVE_GROW, MIB);
}

static int allocate_result(struct trial *trial)
{
    return resize(trial, RECORD_SIDE_RESULT, RESERVE_PAGES, MIB);
}

static int write_flag(struct trial *trial, int32_t flag)
{
    struct record proposed;
    uint32_t touched;
    int result;

    do {
        background_drain(trial->world.bench.background);
        ck_assert_int_eq(record_merge(&trial->slot->record, &flag, sizeof(flag), 0, &proposed, &touched), 0);
        result = publish_record(trial->world.exchange, trial->slot, &trial->world.caller, &proposed, touched);
    } while (result == WAIT_FOR_WORK);
    return result;
}

static int write_flag_none(struct trial *trial)
{
    return write_flag(trial, RECORD_FLAG_NONE);
}

static int write_flag_input(struct trial *trial)
{
    return write_flag(trial, RECORD_FLAG_INPUT);
}

static int write_flag_result(struct trial *trial)
{
    return write_flag(trial, RECORD_FLAG_RESULT);
}

static int write_flag_failed(struct trial *trial)
{
    return write_flag(trial, RECORD_FLAG_FAILED);
}

static int write_small(struct trial *trial, enum slot_file file, const char *text)
{
    struct handle handle = {.slot = trial->slot, .file = file, .access = HANDLE_WRITES};

    return slot_files_row(file)->write(trial->world.exchange, &handle, &trial->world.caller, text,
                                       strlen(text), 0);
}

static int write_task(struct trial *trial)
{
    return write_small(trial, SLOT_TASK, "what to do");
}

static int write_error(struct trial *trial)
{
    return write_small(trial, SLOT_ERROR, "what went wrong");
}

static int write_owner(struct trial *trial)
{
    return write_small(trial, SLOT_OWNER, "self");
}

static int write_worker(struct trial *trial)
{
    return write_small(trial, SLOT_WORKER, "self");
}

static int resize_task(struct trial *trial)
{
    return slot_files_row(SLOT_TASK)->resize(trial->world.exchange, trial->slot, SLOT_TASK, 100);
}

static int resize_error(struct trial *trial)
{
    return slot_files_row(SLOT_ERROR)->resize(trial->world.exchange, trial->slot, SLOT_ERROR, 0);
}

static int unlink_array(struct trial *trial)
{
    return exchange_unlink(trial->world.exchange, trial->slot, &trial->world.caller);
}

static int make(struct trial *trial)
{
    return exchange_mkdir(trial->world.exchange, "made", &trial->world.caller, 0755, &trial->made);
}

static int give_away(struct trial *trial)
{
    return exchange_chown(trial->world.exchange, trial->slot, trial->world.caller.uid + 1, 7);
}

static int follow(struct trial *trial)
{
    return exchange_chain(trial->world.exchange, trial->slot, trial->other, RECORD_SIDE_RESULT,
                          &trial->world.caller);
}

static int move_here(struct trial *trial)
{
    return array_move_result(trial->world.exchange, trial->other, trial->slot, &trial->world.caller);
}

static int move_to_itself(struct trial *trial)
{
    return array_move_result(trial->world.exchange, trial->slot, trial->slot, &trial->world.caller);
}

static int send_input(struct trial *trial)
{
    return world_send(&trial->world, trial->slot, RECORD_FLAG_INPUT, 1000, 7, 1000);
}

static int send_small_input(struct trial *trial)
{
    return world_send(&trial->world, trial->slot, RECORD_FLAG_INPUT, 10, 7, 10);
}

static int send_small_result(struct trial *trial)
{
    return world_send(&trial->world, trial->slot, RECORD_FLAG_RESULT, 10, 7, 10);
}

static int send_result(struct trial *trial)
{
    return world_send(&trial->world, trial->slot, RECORD_FLAG_RESULT, 1000, 7, 1000);
}

static int open_page(struct trial *trial)
{
    return account_open_page(trial->world.exchange, trial->slot, SLOT_PAGE_MEM);
}

static int open_small(struct trial *trial, enum slot_file file)
{
    struct handle *handle = calloc(1, sizeof(*handle));
    int result;

    ck_assert_ptr_nonnull(handle);
    handle->file = file;
    result = slot_files_row(file)->open(trial->world.exchange, trial->slot, handle);
    trial->handle = handle;
    if (result == 0) {
        handle_enlist(handle, trial->slot);
        return 0;
    }
    close_handle(trial);
    return result;
}

static int open_report(struct trial *trial)
{
    return open_small(trial, SLOT_METADATA_TXT);
}

static int open_text(struct trial *trial)
{
    return open_small(trial, SLOT_DATA_TXT);
}

static int open_npy(struct trial *trial)
{
    return open_small(trial, SLOT_RESULT_NPY);
}

static int open_worker(struct trial *trial)
{
    return open_small(trial, SLOT_WORKER);
}

const struct operation operations[] = {
    {"open data.bin for writing", open_data_to_write},
    {"open data.bin for reading", open_data_to_read},
    {"open result.bin for writing", open_result_to_write},
    {"open result.bin for reading", open_result_to_read},
    {"truncate data.bin", truncate_data},
    {"truncate data.bin far out", truncate_data_far},
    {"truncate result.bin", truncate_result},
    {"fallocate data.bin", allocate_data},
    {"fallocate result.bin", allocate_result},
    {"write flag -1", write_flag_none},
    {"write flag 0", write_flag_input},
    {"write flag 1", write_flag_result},
    {"write flag 2", write_flag_failed},
    {"write task", write_task},
    {"write error", write_error},
    {"write owner", write_owner},
    {"write worker", write_worker},
    {"truncate task", resize_task},
    {"truncate error", resize_error},
    {"unlink data.bin", unlink_array},
    {"mkdir", make},
    {"chown", give_away},
    {"symlink source", follow},
    {"rename other/result.bin job/data.bin", move_here},
    {"rename result.bin data.bin", move_to_itself},
    {"flag 0 and an array", send_input},
    {"flag 1 and an array", send_result},
    {"flag 0 and a small array", send_small_input},
    {"flag 1 and a small array", send_small_result},
    {"open metadata.bin", open_page},
    {"open metadata.txt", open_report},
    {"open data.txt", open_text},
    {"open result.npy", open_npy},
    {"open worker", open_worker},
};

const int operations_count = sizeof(operations) / sizeof(operations[0]);
