/*
 * node engine.js DRIVER [SEED]: makes random calls on the heap of the page (engine.js) and on
 * the textbook heap in C (through textbook_driver), under all policies, alignments, pages and
 * limits, and compares every state. Now and then a state is kept, loaded and gone on with.
 * Exit 1 where they differ.
 */
'use strict';

const assert = require('assert');
const {spawnSync} = require('child_process');
const {Heap, POLICIES} = require('../../../sample/replay/page/engine.js');

const [driver, seedText] = process.argv.slice(2);
const HEAPS = 60;  /* of each policy */
const CALLS = 250; /* on each heap */
const KEEP = 40;   /* a state is kept, and loaded, after so many calls */

/* A generator of random numbers that gives the same for the same seed (xorshift32). */
class Random {
	constructor(seed) {
		this.state = seed || 1;
	}

	/* A number from 0 to below. */
	below(below) {
		this.state ^= this.state << 13;
		this.state ^= this.state >>> 17;
		this.state ^= this.state << 5;
		return (this.state >>> 0) % below;
	}

	of(list) {
		return list[this.below(list.length)];
	}
}

function randomOptions(random, policy) {
	const page = random.of([4096, 4096, 16384]);
	return {policy, page, alignment: random.of([1, 8, 16, 64]), start: random.of([1000, 1, 4294]),
		limit: random.of([0, 0, 3 * page, 20 * page + 1, 100 * page])};
}

/* Few sizes, so that some come again, and now and then a large one. */
function randomSize(random) {
	return random.of([8, 24, 100, 100, 1000, 1 + random.below(64), 1 + random.below(3000),
		random.below(10) === 0 ? 1 + random.below(150000) : 500]);
}

function randomCall(random, live, next) {
	const kind = random.of(live.length > 40 ? 'fffar' : 'aaacmrff');
	if ('rf'.includes(kind) && live.length > 0) {
		const at = random.below(live.length);
		const block = kind === 'f' ? live.splice(at, 1)[0] : live[at];
		return {kind, block, size: kind === 'f' ? 0 : randomSize(random), alignment: 0};
	}
	live.push(next);
	return {kind: 'acm'.includes(kind) ? kind : 'a', block: next, size: randomSize(random),
		alignment: kind === 'm' ? 1 << random.below(13) : 0};
}

/* All heaps to be tried, each with its calls. */
function plan(seed) {
	const random = new Random(seed);
	const heaps = [];
	for (let i = 0; i < HEAPS * POLICIES.length; i++) {
		const options = randomOptions(random, POLICIES[i % POLICIES.length]);
		const live = [], calls = [];
		for (let next = 0; next < CALLS; next++)
			calls.push(randomCall(random, live, next));
		heaps.push({options, calls});
	}
	return heaps;
}

const line = ({kind, block, size, alignment}) =>
	`${kind} ${block}${kind === 'f' ? '' : ` ${size}`}${kind === 'm' ? ` ${alignment}` : ''}`;

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
	all.forEach(s => assert.strictEqual(s.kind === 1, heap.blocks[s.block] === s));
}

const seed = Number(seedText) || Date.now() % 1e9;
console.log('[ RUN      ] the heap of the page is the textbook heap');
console.log(`seed ${seed}`);
const {compared, failed, loadedHeaps} = compare(plan(seed));
assert.ok(compared === HEAPS * POLICIES.length * CALLS && failed > 100 && loadedHeaps > 100);
console.log(`${compared} states are the same, ${failed} calls failed in both`);
console.log('[       OK ] the heap of the page is the textbook heap');
