#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
//
// reverse.js SLOT ROUNDS - a worker for Node, with nothing but its own modules: each array comes back with its elements in
// reverse order, of the same type and shape.
'use strict';
const fs = require('fs');
const path = require('path');
const { setTimeout: sleep } = require('timers/promises');

// Offsets in the record, see pyrmapfs(7).
const FLAG = 0, LENGTH = 8, DTYPE = 16, RESULT_DTYPE = 20, RESULT_LENGTH = 24, ROUND = 32, NDIM = 40, RESULT_NDIM = 44;
const SHAPE = 48, RESULT_SHAPE = 80, ORDER = 112, RECORD = 128;
const SIZE_OF = { 1: 4, 2: 8, 3: 4, 4: 8, 5: 1 };
const AT_ONCE = (1 << 20) - 4096; // so much goes with the record, in one write

function reversed(input, size) {
    const result = Buffer.allocUnsafe(input.length);
    for (let from = 0; from < input.length; from += size)
        input.copy(result, input.length - from - size, from, from + size);
    return result;
}

async function serve(slot, rounds) {
    const metadata = fs.openSync(path.join(slot, 'metadata.bin'), 'r+');
    const readRecord = () => {
        const record = Buffer.alloc(RECORD);
        fs.readSync(metadata, record, 0, RECORD, 0);
        return record;
    };
    fs.writeFileSync(path.join(slot, 'worker'), 'self', { flag: 'r+' }); // a round fails at once if we die in it
    let last = 0n;
    while (rounds > 0) {
        const record = readRecord();
        const round = record.readBigUInt64LE(ROUND);
        if (record.readInt32LE(FLAG) !== 0 || round === last) {
            await sleep(5); // Node has neither poll(2) nor futex(2) for a file
            continue;
        }
        const input = fs.readFileSync(path.join(slot, 'data.bin'));
        const again = readRecord();
        if (again.readInt32LE(FLAG) !== 0 || again.readBigUInt64LE(ROUND) !== round)
            continue; // another round has begun
        last = round;
        const size = SIZE_OF[record.readInt32LE(DTYPE)];
        if (!size) {
            fs.writeFileSync(path.join(slot, 'error'), 'reverse.js takes one array of numbers\n', { flag: 'r+' });
            continue;
        }
        const result = reversed(input, size);
        record.writeInt32LE(1, FLAG);
        record.copy(record, RESULT_DTYPE, DTYPE, DTYPE + 4);
        record.copy(record, RESULT_LENGTH, LENGTH, LENGTH + 8);
        record.copy(record, RESULT_NDIM, NDIM, NDIM + 4);
        record.copy(record, RESULT_SHAPE, SHAPE, SHAPE + 32);
        const order = record.readUInt32LE(ORDER);
        record.writeUInt32LE(order | ((order & 0b0101) << 1), ORDER); // the bits of the result stand beside those of the input
        if (result.length > AT_ONCE) {
            fs.writeFileSync(path.join(slot, 'result.bin'), result);
            fs.writeSync(metadata, record, 0, RECORD, 0);
        } else {
            fs.writeSync(metadata, Buffer.concat([record, result]), 0, RECORD + result.length, 0);
        }
        rounds--;
    }
}

const [slot, rounds] = process.argv.slice(2);
if (rounds === undefined) {
    console.error('usage: reverse.js SLOT ROUNDS');
    process.exit(2);
}
serve(slot, Number(rounds));
