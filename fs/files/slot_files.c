// SPDX-License-Identifier: Apache-2.0
#include "files/slot_files.h"

#include "exchange/account.h"
#include "exchange/chain.h"
#include "exchange/publish.h"
#include "exchange/put.h"
#include "exchange/refuse.h"
#include "exchange/step.h"
#include "exchange/wait.h"
#include "files/report.h"
#include "files/shown.h"
#include "files/snapshot.h"
#include "files/take.h"
#include "protocol/bundle_text.h"
#include "protocol/record_text.h"
#include "slot/page.h"
#include "slot/text.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- metadata.bin --- */

static off_t record_size(struct exchange *exchange, struct slot *slot, enum slot_file file)
{
    (void)exchange;
    (void)slot;
    (void)file;
    return RECORD_SIZE;
}

static ssize_t record_read(struct exchange *exchange, struct handle *handle, char *buffer, size_t size,
                           off_t offset)
{
    const struct slot *slot = handle->slot;
    enum record_side side;

    handle->has_read = true;
    handle->seen_change = slot->record.change;
    if (record_taken_side((uint64_t)offset, &side))
        return take_read(exchange, handle, side, buffer, size);
    if (offset >= RECORD_SIZE)
        return 0;
    if (size > (size_t)(RECORD_SIZE - offset))
        size = (size_t)(RECORD_SIZE - offset);
    memcpy(buffer, (const char *)&slot->record + offset, size);
    return (ssize_t)size;
}

/* --- metadata.mem --- */

static off_t page_size(struct exchange *exchange, struct slot *slot, enum slot_file file)
{
    (void)exchange;
    (void)slot;
    (void)file;
    return RECORD_PAGE_SIZE;
}

static ssize_t page_file_read(struct exchange *exchange, struct handle *handle, char *buffer, size_t size,
                              off_t offset)
{
    struct record_page page;

    (void)exchange;
    if (offset >= RECORD_PAGE_SIZE)
        return 0;
    if (size > (size_t)(RECORD_PAGE_SIZE - offset))
        size = (size_t)(RECORD_PAGE_SIZE - offset);
    page_show(handle->slot, &page);
    memcpy(buffer, (const char *)&page + offset, size);
    return (ssize_t)size;
}

/* --- writing the record --- */

static int record_refused(struct exchange *exchange, struct slot *slot, const struct caller *caller)
{
    return refuse_operation(exchange, slot, caller, "write the record", -EINVAL,
                            "it is no valid record: version, flag, dtypes, lengths, shapes or order");
}

/* A write that waited is judged anew: its round may be over by now. */
static int record_write(struct exchange *exchange, struct handle *handle, const struct caller *caller,
                        const char *bytes, size_t size, off_t offset)
{
    const struct record *current = &handle->slot->record;
    uint64_t at = (uint64_t)offset;
    int result = record_of_round(current, bytes, size, &at);
    size_t array = record_array_size(size, at);
    struct record proposed;
    uint32_t touched;

    if (result == -ECANCELED)
        return refuse_operation(exchange, handle->slot, caller, "take a step of a round", result,
                                "the slot is in another round by now");
    if (result < 0 || record_merge(current, bytes, size - array, at, &proposed, &touched) < 0)
        return record_refused(exchange, handle->slot, caller);
    if (array)
        return put_array(exchange, handle->slot, caller, &proposed, bytes + RECORD_SIZE, array, &handle->put);
    return publish_record(exchange, handle->slot, caller, &proposed, touched);
}

/* --- texts made at open --- */

static int keep_text(struct handle *handle, char *text, size_t size)
{
    handle->snapshot = text ? snapshot_new(text, size) : NULL;
    return handle->snapshot ? 0 : -ENOMEM;
}

/* A handle truncated at open has no text. */
static ssize_t kept_read(struct exchange *exchange, struct handle *handle, char *buffer, size_t size,
                         off_t offset)
{
    (void)exchange;
    return handle->snapshot ? (ssize_t)snapshot_read(handle->snapshot, buffer, size, offset) : 0;
}

/* The text from malloc, or NULL. Its length is bounded: see report.h. */
static char *report_text(struct exchange *exchange, const struct slot *slot, size_t *size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, size);

    if (!out)
        return NULL;
    report_slot(exchange, slot, out);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static int report_open(struct exchange *exchange, struct slot *slot, struct handle *handle)
{
    size_t size = 0;
    char *text = report_text(exchange, slot, &size);

    return keep_text(handle, text, size);
}

static off_t report_size(struct exchange *exchange, struct slot *slot, enum slot_file file)
{
    size_t size = 0;

    (void)file;
    free(report_text(exchange, slot, &size));
    return (off_t)size;
}

static int report_write(struct exchange *exchange, struct handle *handle, const struct caller *caller,
                        const char *bytes, size_t size, off_t offset)
{
    char why[RECORD_TEXT_WHY_MAX];
    struct record proposed;
    uint32_t touched;

    (void)offset; /* one write is one step, wherever the file position is */
    if (record_text_merge(&handle->slot->record, bytes, size, &proposed, &touched, why) < 0)
        return refuse_operation(exchange, handle->slot, caller, "write metadata.txt", -EINVAL, why);
    return publish_record(exchange, handle->slot, caller, &proposed, touched);
}

/* --- views --- */

static void describe_view(const struct slot *slot, enum record_side side, struct view_source *view)
{
    struct record_half half = record_half(&slot->record, side);

    *view = (struct view_source){.read = shown_read};
    view->dtype = half.dtype;
    view->ndim = half.ndim;
    memcpy(view->shape, half.shape, sizeof(view->shape));
    view->length = half.length;
    view->fortran = half.order & RECORD_ORDER_INPUT_F;
}

static bool is_npy(enum slot_file file)
{
    return file == SLOT_DATA_NPY || file == SLOT_RESULT_NPY;
}

static off_t size_of_view(const struct view_source *view, enum slot_file file)
{
    off_t size = is_npy(file) ? view_npy_size(view) : view_text_size(view);

    return size > 0 ? size : 0;
}

static bool is_bundle(const struct slot *slot, enum record_side side)
{
    return record_half(&slot->record, side).dtype == RECORD_BUNDLE;
}

/* The text of a published bundle from malloc, or NULL. */
static char *bundle_text(struct exchange *exchange, const struct slot *slot, enum record_side side,
                         size_t *size)
{
    struct bundle bundle;
    struct shown shown;
    char *text = NULL;
    FILE *out = open_memstream(&text, size);

    if (!out)
        return NULL;
    bundle_text_write(&bundle, shown_bundle(exchange, slot, side, &shown, &bundle), out);
    bundle_close(&bundle);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static off_t bundle_text_size(struct exchange *exchange, const struct slot *slot, enum record_side side)
{
    size_t size = 0;

    free(bundle_text(exchange, slot, side, &size));
    return (off_t)size;
}

static off_t view_size(struct exchange *exchange, struct slot *slot, enum slot_file file)
{
    enum record_side side = slot_file_side(file);
    struct view_source view;
    struct shown place;

    if (!shown_is(slot, side))
        return 0;
    describe_view(slot, side, &view);
    shown_find(exchange, slot, side, &place);
    view.context = &place;
    if (is_npy(file))
        return size_of_view(&view, file);
    /* We render the text to find its size, and keep that: what is published does not change. */
    if (slot->text_serial[side] != slot->arrays[side].serial) {
        slot->text_size[side] =
            is_bundle(slot, side) ? bundle_text_size(exchange, slot, side) : size_of_view(&view, file);
        slot->text_serial[side] = slot->arrays[side].serial;
    }
    return slot->text_size[side];
}

off_t slot_files_view_size(const struct handle *handle)
{
    if (handle->snapshot)
        return (off_t)snapshot_size(handle->snapshot);
    return handle->view.read ? size_of_view(&handle->view, handle->file) : 0;
}

static int bundle_view_open(struct exchange *exchange, struct slot *slot, struct handle *handle)
{
    struct caller caller = {.process = handle->process};
    size_t size = 0;
    char *text;

    if (is_npy(handle->file))
        return refuse_operation(exchange, slot, &caller, "open a .npy view", -EINVAL,
                                "a bundle is more than one array: use data.bin with a reader of safetensors");
    text = bundle_text(exchange, slot, slot_file_side(handle->file), &size);
    return keep_text(handle, text, size);
}

static int view_open(struct exchange *exchange, struct slot *slot, struct handle *handle)
{
    enum record_side side = slot_file_side(handle->file);
    struct shown *place;
    int result;

    handle->view.read = NULL;
    if (!shown_is(slot, side))
        return 0;
    if (is_bundle(slot, side))
        return bundle_view_open(exchange, slot, handle);
    describe_view(slot, side, &handle->view);
    place = malloc(sizeof(*place));
    if (!place)
        return -ENOMEM;
    shown_find(exchange, slot, side, place);
    handle->view.context = place;
    if (!place->segment)
        return 0;
    result = segment_open(place->arena, place->segment);
    if (result == 0)
        handle->segment = place->segment;
    return result;
}

static ssize_t text_view_read(struct exchange *exchange, struct handle *handle, char *buffer, size_t size,
                              off_t offset)
{
    if (!handle->view.read)
        return kept_read(exchange, handle, buffer, size, offset);
    return view_text_read(&handle->view, &handle->cursor, buffer, size, offset);
}

static ssize_t npy_view_read(struct exchange *exchange, struct handle *handle, char *buffer, size_t size,
                             off_t offset)
{
    (void)exchange;
    if (!handle->view.read)
        return 0;
    return view_npy_read(&handle->view, buffer, size, offset);
}

/* --- task and error --- */

static off_t text_file_size(struct exchange *exchange, struct slot *slot, enum slot_file file)
{
    (void)exchange;
    return (off_t)text_size(slot, file);
}

static ssize_t text_file_read(struct exchange *exchange, struct handle *handle, char *buffer, size_t size,
                              off_t offset)
{
    return text_read(exchange_arena(exchange), handle->slot, handle->file, buffer, size, offset);
}

static int text_result(struct exchange *exchange, struct handle *handle, const struct caller *caller,
                       ssize_t result)
{
    if (result >= 0)
        return 0;
    return refuse_operation(exchange, handle->slot, caller,
                            handle->file == SLOT_TASK ? "write task" : "write error", (int)result,
                            result == -EFBIG    ? "the text is too long"
                            : result == -EDQUOT ? refuse_what_is_lacking(exchange, (int)result)
                                                : "the arena has no room for more texts");
}

static int task_write(struct exchange *exchange, struct handle *handle, const struct caller *caller,
                      const char *bytes, size_t size, off_t offset)
{
    ssize_t result =
        account_write_text(exchange, handle->slot, SLOT_TASK, ACCOUNT_CLIENT, bytes, size, offset);

    if (result > 0)
        publish_task(exchange, handle->slot);
    return text_result(exchange, handle, caller, result);
}

/* Reading takes the failure that the open found, and no later one. */
static int error_open(struct exchange *exchange, struct slot *slot, struct handle *handle)
{
    (void)exchange;
    handle->number = handle->access == HANDLE_READS && slot_state(slot) == STATE_FAILED ? slot->failure : 0;
    return 0;
}

static int error_write(struct exchange *exchange, struct handle *handle, const struct caller *caller,
                       const char *bytes, size_t size, off_t offset)
{
    struct slot *slot = handle->slot;

    if (slot_state(slot) == STATE_FAILED)
        return text_result(
            exchange, handle, caller,
            account_write_text(exchange, slot, SLOT_ERROR, ACCOUNT_CLIENT, bytes, size, offset));
    if (size > TEXT_ERROR_MAX)
        return text_result(exchange, handle, caller, -EFBIG);
    return publish_failure(exchange, slot, caller, bytes, size);
}

static int text_file_resize(struct exchange *exchange, struct slot *slot, enum slot_file file, uint64_t size)
{
    size_t before = text_size(slot, file);
    int result = account_resize_text(exchange, slot, file, size);

    if (file == SLOT_TASK && text_size(slot, file) != before)
        publish_task(exchange, slot);
    return result;
}

static int text_file_unlink(struct exchange *exchange, struct slot *slot, enum slot_file file,
                            const struct caller *caller)
{
    (void)caller;
    return text_file_resize(exchange, slot, file, 0);
}

/* --- owner and worker --- */

enum { PID_TEXT_MAX = 24 };

/* Behind a pid in `worker`: for one round. */
static const char once[] = " once";

static enum exchange_role role_of(enum slot_file file)
{
    return file == SLOT_OWNER ? ROLE_OWNER : ROLE_WORKER;
}

static int pid_text(const struct slot *slot, enum slot_file file, char text[PID_TEXT_MAX])
{
    pid_t pid = file == SLOT_OWNER ? slot->owner : slot->worker;
    const char *how_long = file == SLOT_WORKER && slot->worker_once ? once : "";

    return pid ? snprintf(text, PID_TEXT_MAX, "%d%s\n", pid, how_long) : 0;
}

static off_t pid_size(struct exchange *exchange, struct slot *slot, enum slot_file file)
{
    char text[PID_TEXT_MAX];

    (void)exchange;
    return pid_text(slot, file, text);
}

static int pid_open(struct exchange *exchange, struct slot *slot, struct handle *handle)
{
    char *text = malloc(PID_TEXT_MAX);

    (void)exchange;
    return keep_text(handle, text, text ? (size_t)pid_text(slot, handle->file, text) : 0);
}

/*
 * A decimal pid or "self", with or without a newline, and in `worker` with or without " once" behind it, which
 * sets *role to the role of a single round. Returns the pid, 0 for self, or -EINVAL.
 */
static pid_t parse_pid(const char *bytes, size_t size, enum exchange_role *role)
{
    const size_t suffix = sizeof(once) - 1;
    char text[16];
    char *end;
    long pid;

    while (size > 0 && (bytes[size - 1] == '\n' || bytes[size - 1] == ' '))
        size--;
    if (*role == ROLE_WORKER && size > suffix && memcmp(bytes + size - suffix, once, suffix) == 0) {
        *role = ROLE_WORKER_ONCE;
        size -= suffix;
    }
    if (size == 0 || size >= sizeof(text))
        return -EINVAL;
    memcpy(text, bytes, size);
    text[size] = '\0';
    if (strcmp(text, "self") == 0)
        return 0;
    if (strspn(text, "0123456789") != size)
        return -EINVAL;
    pid = strtol(text, &end, 10);
    return pid > 0 && pid <= INT32_MAX ? (pid_t)pid : -EINVAL;
}

static const char *pid_operation(const struct handle *handle)
{
    return handle->file == SLOT_OWNER ? "set owner" : "set worker";
}

static int pid_write(struct exchange *exchange, struct handle *handle, const struct caller *caller,
                     const char *bytes, size_t size, off_t offset)
{
    enum exchange_role role = role_of(handle->file);
    pid_t pid = parse_pid(bytes, size, &role);

    (void)offset;
    if (pid < 0)
        return refuse_operation(exchange, handle->slot, caller, pid_operation(handle), -EINVAL,
                                handle->file == SLOT_OWNER
                                    ? "neither a pid nor the word self"
                                    : "neither a pid nor the word self, nor one of them and the word once");
    if (pid == 0 && caller->process == 0)
        return refuse_operation(exchange, handle->slot, caller, pid_operation(handle), -ESRCH,
                                "the client lives in a pid namespace that the daemon cannot see");
    if (pid > 0 && !process_shares_pids(caller->thread))
        return refuse_operation(exchange, handle->slot, caller, pid_operation(handle), -ESRCH,
                                "the client lives in another pid namespace, where the number means something "
                                "else: write self");
    if (pid == 0)
        pid = caller->process;
    return exchange_bind(exchange, handle->slot, role, pid, caller);
}

static int pid_unlink(struct exchange *exchange, struct slot *slot, enum slot_file file,
                      const struct caller *caller)
{
    return exchange_bind(exchange, slot, role_of(file), 0, caller);
}

static int pid_resize(struct exchange *exchange, struct slot *slot, enum slot_file file, uint64_t size)
{
    return size ? -EINVAL : pid_unlink(exchange, slot, file, &(struct caller){0});
}

/* --- source --- */

static off_t link_size(struct exchange *exchange, struct slot *slot, enum slot_file file)
{
    char target[CHAIN_TARGET_MAX];

    (void)file;
    chain_target(exchange, slot, target);
    return (off_t)strlen(target);
}

static int link_unlink(struct exchange *exchange, struct slot *slot, enum slot_file file,
                       const struct caller *caller)
{
    (void)file;
    (void)caller;
    exchange_unchain(exchange, slot);
    return 0;
}

/* --- arrays --- */

static off_t array_size(struct exchange *exchange, struct slot *slot, enum slot_file file)
{
    uint64_t size, allocated;

    step_array_stat(exchange, slot, slot_file_side(file), &size, &allocated);
    return (off_t)size;
}

static int round_unlink(struct exchange *exchange, struct slot *slot, enum slot_file file,
                        const struct caller *caller)
{
    (void)file;
    return exchange_unlink(exchange, slot, caller);
}

/* clang-format off */
static const struct slot_files_row rows[SLOT_FILES] = {
    /*                     kind                  size            open         read            write         resize            unlink */
    [SLOT_DIRECTORY]    = {SLOT_FILES_DIRECTORY, NULL,           NULL,        NULL,           NULL,         NULL,             NULL},
    [SLOT_METADATA_BIN] = {SLOT_FILES_RECORD,    record_size,    NULL,        record_read,    record_write, NULL,             round_unlink},
    [SLOT_METADATA_MEM] = {SLOT_FILES_PAGE,      page_size,      NULL,        page_file_read, NULL,         NULL,             NULL},
    [SLOT_METADATA_TXT] = {SLOT_FILES_TEXT,      report_size,    report_open, kept_read,      report_write, NULL,             NULL},
    [SLOT_DATA_BIN]     = {SLOT_FILES_ARRAY,     array_size,     NULL,        NULL,           NULL,         NULL,             round_unlink},
    [SLOT_RESULT_BIN]   = {SLOT_FILES_ARRAY,     array_size,     NULL,        NULL,           NULL,         NULL,             round_unlink},
    [SLOT_DATA_TXT]     = {SLOT_FILES_VIEW,      view_size,      view_open,   text_view_read, NULL,         NULL,             NULL},
    [SLOT_RESULT_TXT]   = {SLOT_FILES_VIEW,      view_size,      view_open,   text_view_read, NULL,         NULL,             NULL},
    [SLOT_DATA_NPY]     = {SLOT_FILES_VIEW,      view_size,      view_open,   npy_view_read,  NULL,         NULL,             NULL},
    [SLOT_RESULT_NPY]   = {SLOT_FILES_VIEW,      view_size,      view_open,   npy_view_read,  NULL,         NULL,             NULL},
    [SLOT_TASK]         = {SLOT_FILES_TEXT,      text_file_size, NULL,        text_file_read, task_write,   text_file_resize, text_file_unlink},
    [SLOT_ERROR]        = {SLOT_FILES_TEXT,      text_file_size, error_open,  text_file_read, error_write,  text_file_resize, text_file_unlink},
    [SLOT_OWNER]        = {SLOT_FILES_TEXT,      pid_size,       pid_open,    kept_read,      pid_write,    pid_resize,       pid_unlink},
    [SLOT_WORKER]       = {SLOT_FILES_TEXT,      pid_size,       pid_open,    kept_read,      pid_write,    pid_resize,       pid_unlink},
    [SLOT_SOURCE]       = {SLOT_FILES_LINK,      link_size,      NULL,        NULL,           NULL,         NULL,             link_unlink},
    [SLOT_DATA_LINK]    = {SLOT_FILES_LINK,      NULL,           NULL,        NULL,           NULL,         NULL,             NULL},
    [SLOT_RESULT_LINK]  = {SLOT_FILES_LINK,      NULL,           NULL,        NULL,           NULL,         NULL,             NULL},
    [SLOT_METADATA_LINK]= {SLOT_FILES_LINK,      NULL,           NULL,        NULL,           NULL,         NULL,             NULL},
};
/* clang-format on */

const struct slot_files_row *slot_files_row(enum slot_file file)
{
    return &rows[file];
}

void slot_files_close(struct exchange *exchange, struct handle *handle)
{
    if (rows[handle->file].kind == SLOT_FILES_VIEW) {
        if (handle->segment)
            segment_close(exchange_arena(exchange), handle->segment);
        handle->segment = NULL;
        free(handle->view.context);
        handle->view.context = NULL;
    }
    if (handle->file == SLOT_ERROR && handle->slot && handle->number &&
        handle->number == handle->slot->failure) {
        exchange_outcome_read(exchange, handle->slot);
        exchange_run(exchange);
    }
    snapshot_forget(handle->snapshot);
    handle->snapshot = NULL;
}

enum handshake_event slot_files_write_event(const struct handle *handle, const char *bytes, size_t size,
                                            off_t offset)
{
    struct record proposed = handle->slot->record;
    char why[RECORD_TEXT_WHY_MAX];
    uint64_t at = (uint64_t)offset;
    size_t array = 0;
    uint32_t touched;
    int result;

    if (handle->file == SLOT_METADATA_TXT) {
        result = record_text_merge(&handle->slot->record, bytes, size, &proposed, &touched, why);
    } else {
        /* Which event it would be: a write for a round that is over has been refused by now. */
        (void)record_of_round(&handle->slot->record, bytes, size, &at);
        array = record_array_size(size, at);
        result = record_merge(&handle->slot->record, bytes, size - array, at, &proposed, &touched);
    }
    if (array)
        return put_event(proposed.flag);
    if (result < 0 || !(touched & RECORD_TOUCHED_FLAG))
        return HANDSHAKE_EVENTS;
    switch ((enum record_flag)proposed.flag) {
    case RECORD_FLAG_NONE:
        return EVENT_FLAG_NONE;
    case RECORD_FLAG_INPUT:
        return EVENT_FLAG_INPUT;
    case RECORD_FLAG_RESULT:
        return EVENT_FLAG_RESULT;
    case RECORD_FLAG_FAILED:
        return EVENT_FLAG_FAILED;
    }
    return HANDSHAKE_EVENTS;
}
