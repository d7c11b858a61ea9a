/*
 * node engine.js DRIVER [SEED]: makes random calls on the heap of the page (engine.js) and on
 * the textbook heap in C (through textbook_driver), under all policies, alignments, pages and
 * limits, and compares every state. Now and then a state is kept, loaded and gone on with, or some
 * calls are taken back and made once more.
 * Exit 1 where they differ.
 */
'use strict';

const assert = require('assert');
const {spawnSync} = require('child_process');
const {Heap, POLICIES} = require('../../../sample/replay/page/engine.js');
const {plan, line} = require('./random.js');

const [driver, seedText] = process.argv.slice(2);
const HEAPS = 60;  /* of each policy */
const CALLS = 250; /* on each heap */
const KEEP = 40;   /* a state is kept, and loaded, after so many calls */
const BACK = 7;    /* so many calls are taken back after three times as many */

/* All that there is to know of a heap. */
function stateOf(heap) {
	const {quick, ...saved} = heap.save();
	return JSON.stringify([saved, quick.sort((a, b) => a[0] - b[0]), heap.text()]);
}

/* Takes the last calls back and makes them once more: the states in between are the same. */
function takeBack(heap, calls) {
	const before = calls.map(() => {
		const seen = stateOf(heap);
		heap.undo();
		check(heap);
		return seen;
	}).reverse();
	calls.forEach((call, i) => {
		heap.call(call);
		assert.strictEqual(stateOf(heap), before[i]);
	});
}

function compare(heaps) {
	const input = heaps.map(({options: o, calls}) => `h ${o.policy} ${o.alignment} ${o.start} ` +
		`${o.page} ${o.limit}\n${calls.map(line).join('\n')}\n`).join('');
	const driven = spawnSync(driver, {input, maxBuffer: 1 << 30, encoding: 'utf8'});
	assert.strictEqual(driven.status, 0, driven.stderr);
	const states = driven.stdout.split('\n');
	let at = 0, failed = 0, loadedHeaps = 0;
	for (const {options, calls} of heaps) {
		let heap = new Heap(options);
		calls.forEach((call, i) => {
			if (i % KEEP === KEEP - 1) {
				heap = Heap.load(options, heap.save());
				loadedHeaps++;
			}
			heap.journal = heap.journal || [];
			if (i % (3 * BACK) === 0 && heap.journal.length >= BACK)
				takeBack(heap, calls.slice(i - BACK, i));
			const result = heap.call(call);
			failed += result === 0;
			assert.strictEqual(`${result} ${heap.looked} ${heap.text()}`.trim(), states[at++],
				`${JSON.stringify(options)}: ${calls.slice(0, i + 1).map(line).join('; ')}`);
		});
		check(heap);
	}
	return {compared: at, failed, loadedHeaps};
}

/* What the heap has counted is what is there. */
function check(heap) {
	const all = [...heap.walk()];
	const sizes = kind => all.filter(s => s.kind === kind).reduce((n, s) => n + s.size, 0);
	assert.strictEqual(heap.segments, all.length);
	assert.strictEqual(heap.process, sizes(1));
	assert.strictEqual(heap.mapped, sizes(1) + sizes(2) + sizes(3));
	assert.deepStrictEqual([...heap.holes], all.filter(s => s.kind === 2));
	assert.strictEqual(heap.holes.count, [...heap.holes].length);
	assert.strictEqual(heap.holes.largest(), Math.max(0, ...[...heap.holes].map(s => s.size)));
	assert.strictEqual(heap.quickBytes, sizes(3));
	const shown = heap.text().split(' ').filter(word => word.startsWith('H')).map(word => word.slice(1)
		.split('-').map(Number)).map(([start, end]) => end - start + 1);
	assert.strictEqual(heap.shownHoles, shown.length);
	assert.strictEqual(heap.largestShown(), Math.max(0, ...shown));
	all.forEach(s => assert.strictEqual(s.kind === 1, heap.blocks[s.block] === s));
}

const seed = Number(seedText) || Date.now() % 1e9;
console.log('[ RUN      ] the heap of the page is the textbook heap');
console.log(`seed ${seed}`);
const {compared, failed, loadedHeaps} = compare(plan(seed, HEAPS, CALLS));
assert.ok(compared === HEAPS * POLICIES.length * CALLS && failed > 100 && loadedHeaps > 100);
console.log(`${compared} states are the same, ${failed} calls failed in both`);
console.log('[       OK ] the heap of the page is the textbook heap');
