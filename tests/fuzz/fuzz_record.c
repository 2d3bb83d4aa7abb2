// SPDX-License-Identifier: Apache-2.0
/*
 * Writes of metadata.bin: any bytes at any offset, each merged with what the last one left; what stands behind
 * the record is an array that has to fit it.
 */
#include "invariant.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stream stream = {data, size};
    struct record current, proposed;

    record_init(&current);
    stream_take(&stream, &current.input_inline, sizeof(current.input_inline));
    stream_take(&stream, &current.result_inline, sizeof(current.result_inline));
    while (stream.size) {
        uint8_t bytes[RECORD_SIZE + 16];
        size_t length = stream_byte(&stream) % (sizeof(bytes) + 1);
        uint64_t offset = stream_byte(&stream), file_size;
        size_t array;
        uint32_t touched = 0;

        /* Half of the offsets are a field's, some lie far beyond the record. */
        if (offset >= 0xf0)
            offset = UINT64_MAX - (0xff - offset);
        else if (offset >= RECORD_SIZE)
            offset &= 0x7c;
        stream_take(&stream, bytes, length);
        stream_take(&stream, &file_size, sizeof(uint16_t));

        array = record_array_size(length, offset);
        INVARIANT(array == 0 || (offset == 0 && length == RECORD_SIZE + array));
        length -= array;
        proposed = current;
        if (record_merge(&current, bytes, length, offset, &proposed, &touched) != 0) {
            INVARIANT(memcmp(&proposed, &current, sizeof(proposed)) == 0);
            continue;
        }
        INVARIANT(offset <= RECORD_SIZE && length <= RECORD_SIZE - offset);
        check_merged(&current, &proposed, touched);
        if (array)
            check_fit(&proposed, RECORD_SIDE_INPUT, array);
        check_fit(&proposed, RECORD_SIDE_INPUT, file_size);
        check_fit(&proposed, RECORD_SIDE_RESULT, file_size);
        check_fit(&proposed, RECORD_SIDE_INPUT, (uint64_t)proposed.input_length);
        current = proposed;
        if (record_fit(&proposed, RECORD_SIDE_RESULT, file_size) == 0) {
            record_result_to_input(&current, &proposed);
            INVARIANT(record_check(&current) == 0);
            INVARIANT(record_fit(&current, RECORD_SIDE_INPUT, file_size) == 0);
        }
    }
    return 0;
}
