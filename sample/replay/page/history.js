/*
 * What happened to a heap, call by call: reads what timeline.c wrote, and goes to the state after
 * any call. Depends on engine.js.
 */
'use strict';

/* ---- Calls ----------------------------------------------------------------------------------- */

/* A list of calls in columns. The call with number n, from 1, is get(n). */
class Calls {
	constructor() {
		this.kind = [];
		this.block = [];
		this.size = [];
		this.alignment = new Map(); /* by number, of those that have one */
		this.label = [];            /* undefined for none */
		this.hasLabels = false;
		this.taker = [];            /* which call took the block; 0 for none */
		this.takes = [];            /* by block: which call took it last */
		this.blocks = 0;            /* how many numbers of blocks were used */
	}

	get count() {
		return this.kind.length;
	}

	add(kind, block, size, alignment, label) {
		this.label.push(label);
		this.kind.push(kind);
		this.block.push(block);
		this.size.push(size);
		this.hasLabels = this.hasLabels || label !== undefined;
		if ('acm'.includes(kind))
			this.takes[block] = this.count;
		this.taker.push(this.takes[block] || 0);
		if (alignment)
			this.alignment.set(this.count, alignment);
		this.blocks = Math.max(this.blocks, block + 1);
	}

	get(number) {
		const i = number - 1;
		return {number, kind: this.kind[i], block: this.block[i], size: this.size[i],
			alignment: this.alignment.get(number) || 0, label: this.label[i],
			owner: this.ownerAt(number)};
	}

	/* The label of the block that a call is about: of the call that took it. Empty for none. */
	ownerAt(number) {
		return this.label[this.taker[number - 1] - 1] || '';
	}

	/* Forgets all calls after a number. */
	cut(count) {
		this.kind.length = this.block.length = this.size.length = this.label.length =
			this.taker.length = count;
		this.takes = [];
		this.taker.forEach((taker, i) => { this.takes[this.block[i]] = taker; });
		for (const number of [...this.alignment.keys()])
			if (number > count)
				this.alignment.delete(number);
		this.blocks = this.block.reduce((most, block) => Math.max(most, block + 1), 0);
	}

	/* The first calls of another list. */
	static from(calls, count) {
		const copy = new Calls();
		for (let number = 1; number <= count; number++) {
			const {kind, block, size, alignment, label} = calls.get(number);
			copy.add(kind, block, size, alignment, label);
		}
		return copy;
	}
}

/* ---- Reading --------------------------------------------------------------------------------- */

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-';
const VALUES = new Uint8Array(128).map((_, code) => DIGITS.indexOf(String.fromCharCode(code)));
const KIND_LETTERS = 'acmrfg';

/* Reads numbers from the text that timeline.c describes. */
class Numbers {
	constructor(text) {
		this.text = text;
		this.at = 0;
	}

	get isAtEnd() {
		return this.at >= this.text.length;
	}

	next() {
		let value = 0, weight = 1;
		for (;;) {
			const digit = VALUES[this.text.charCodeAt(this.at++)];
			value += (digit & 31) * weight;
			if (digit < 32)
				return value;
			weight *= 32;
		}
	}

	/* A number that may be negative. */
	signed() {
		const value = this.next();
		return value % 2 ? -(value + 1) / 2 : value / 2;
	}

	/* The same, however large. */
	signedLarge() {
		let value = 0n;
		for (let shift = 0n; ; shift += 5n) {
			const digit = VALUES[this.text.charCodeAt(this.at++)];
			value += BigInt(digit & 31) << shift;
			if (digit < 32)
				return value & 1n ? -(value >> 1n) - 1n : value >> 1n;
		}
	}
}

/* Which block a call is about: a new one, or one counted back from the newest. */
function blockOf(code, kind, calls) {
	if (kind === 'g')
		return -1;
	if (kind === 'r' || kind === 'f')
		return calls.blocks - 1 - code;
	return code === 0 ? calls.blocks : calls.blocks - code;
}

/* Labels hold from the call where they begin, for the calls that can have one. */
function labelsRead(labels, calls) {
	labels.forEach(([from, label], i) => {
		const to = i + 1 < labels.length ? labels[i + 1][0] : calls.count + 1;
		for (let number = from; number < to && label !== null; number++)
			if ('acm'.includes(calls.kind[number - 1]))
				calls.label[number - 1] = label;
		calls.hasLabels = calls.hasLabels || label !== null;
	});
}

/* The calls of a page, and the addresses that they gave where these were recorded. */
function callsRead(data) {
	const numbers = new Numbers(data.calls);
	const calls = new Calls();
	const results = data.recorded ? [0] : null;
	let last = data.start;
	while (!numbers.isAtEnd) {
		const head = numbers.next();
		const kind = KIND_LETTERS[head % KIND_LETTERS.length];
		const block = blockOf(Math.floor(head / KIND_LETTERS.length), kind, calls);
		const hasSize = kind !== 'f' && kind !== 'g';
		const size = hasSize ? numbers.next() : 0;
		calls.add(kind, block, size, kind === 'm' ? 2 ** numbers.next() : 0);
		if (!results)
			continue;
		const address = hasSize ? last + numbers.signed() * data.alignment : 0;
		results.push(address < data.start ? 0 : address);
		if (address >= data.start)
			last = address;
	}
	labelsRead(data.labels, calls);
	return {calls, results};
}

/* What quick fit remembers after each call (see timeline.c), or null: for each call null or
 * {isFlushed, holes} with a [start, bytes] for each HOLE that has changed. */
function rememberedRead({remembered, start, alignment}) {
	const numbers = new Numbers(remembered);
	const all = [null];
	let last = start;
	while (!numbers.isAtEnd) {
		const head = numbers.next();
		const holes = Array.from({length: Math.floor(head / 2)}, () => {
			last += numbers.signed() * alignment;
			return [last, numbers.next() * alignment];
		});
		all.push(head === 0 ? null : {isFlushed: head % 2 === 1, holes});
	}
	return remembered ? all : null;
}

/* The names that a trace gives to its blocks, as texts. */
function idsRead(text) {
	const numbers = new Numbers(text);
	const ids = [];
	let last = -1n;
	while (!numbers.isAtEnd) {
		last = BigInt.asUintN(64, last + 1n + numbers.signedLarge());
		ids.push(String(last));
	}
	return ids;
}

/* ---- Runs ------------------------------------------------------------------------------------ */

const KEYFRAMES = 64; /* states that are kept, at even distances */
const STRIDE_LEAST = 64;
const SAMPLES = 1000; /* states in which the largest HOLE is looked for where that takes a walk */
const SLICE_CALLS = 64; /* between two looks at the clock */

/* Calls on a heap. Knows what each call gave, and what the heap measured after it. */
class Run {
	/* recorded: {results, nodes: [[call, pages]], remembered} where the library made the calls, or
	 * null. Its quick fit has rules of its own, which the policy "recorded" stands for. */
	constructor(calls, options, recorded) {
		this.calls = calls;
		this.options = recorded && options.policy === 'quick_fit' ?
			{...options, policy: 'recorded'} : options;
		this.recorded = recorded || null;
		this.front = new Heap(this.options); /* after the last call that was made */
		this.views = [null, null];           /* before and after the call that is looked at */
		this.stride = Math.max(STRIDE_LEAST, Math.ceil(calls.count / KEYFRAMES));
		this.sampling = Math.ceil((calls.count + 1) / SAMPLES);
		this.keyframes = [this.front.save()];
		/* What each call gave, and measures after it. The last four are sums over all calls so far:
		 * a request is a call that needed a HOLE. */
		this.result = [0];
		this.looked = [0];
		this.process = [0];
		this.mapped = [0];
		this.holes = [0];
		this.largest = [0];
		this.requests = [0];
		this.lookedInAll = [0];
		this.lookedAtMost = [0];
		this.failed = [0];
		this.trims = new Set(); /* calls that did nothing but empty the quick lists */
		this.newPages = new Map(recorded ? recorded.nodes.reduce((map, [call, pages]) =>
			map.set(call, [...(map.get(call) || []), pages]), new Map()) : []);
	}

	/* How many calls were made. */
	get done() {
		return this.front.calls;
	}

	get isDone() {
		return this.done >= this.calls.count;
	}

	/* Makes the next call on a heap. */
	make(heap) {
		const number = heap.calls + 1;
		const recorded = this.recorded && {address: this.recorded.results[number],
			pages: [...(this.newPages.get(number) || [])]};
		const result = heap.call(this.calls.get(number), recorded);
		if (this.recorded && this.recorded.remembered && this.recorded.remembered[number])
			heap.remember(this.recorded.remembered[number]);
		return result;
	}

	note(heap, result) {
		const number = heap.calls;
		this.result[number] = result;
		this.looked[number] = heap.looked;
		this.process[number] = heap.process;
		this.mapped[number] = heap.mapped;
		this.holes[number] = heap.shownHoles;
		this.largest[number] = heap.quickBlocks === 0 || number % this.sampling === 0 ?
			heap.largestShown() : this.largest[number - 1];
		this.noteRequest(heap, number, result);
		this.trims.delete(number);
		if (result === 0 && heap.trimmed === number)
			this.trims.add(number);
	}

	noteRequest(heap, number, result) {
		const isRequest = heap.requested === number;
		this.requests[number] = this.requests[number - 1] + (isRequest ? 1 : 0);
		this.failed[number] = this.failed[number - 1] + (isRequest && result === 0 ? 1 : 0);
		this.lookedInAll[number] = this.lookedInAll[number - 1] + heap.looked;
		this.lookedAtMost[number] = Math.max(this.lookedAtMost[number - 1], heap.looked);
	}

	/* Makes calls up to a number, or until a time: has it come so far? */
	advance(number, deadline = Infinity) {
		const heap = this.front;
		const until = Math.min(number, this.calls.count);
		while (heap.calls < until) {
			this.note(heap, this.make(heap));
			if (heap.calls % this.stride === 0)
				this.keyframes.push(heap.save());
			if (heap.calls % SLICE_CALLS === 0 && performance.now() > deadline)
				break;
		}
		return heap.calls >= until;
	}

	/* A heap in the state after a call: this one, if it is not too far, or one from a keyframe. It can
	 * take its last calls back. */
	forward(heap, number) {
		const frame = this.keyframes[Math.floor(number / this.stride)];
		while (heap && heap.calls > number && heap.journal && heap.journal.length > 0)
			heap.undo();
		if (!heap || heap.calls > number || heap.calls < frame.calls)
			heap = Heap.load(this.options, frame);
		while (heap.calls < number) {
			if (!heap.journal && number - heap.calls <= JOURNAL_MOST)
				heap.journal = [];
			this.make(heap);
		}
		return heap;
	}

	/* The heaps before and after a call; before the first it is null. They must not be changed,
	 * and stay so until the next call of this function. */
	around(number) {
		let [before, after] = this.views;
		this.advance(number);
		if (before && before.calls === number)
			[before, after] = [after, before];
		this.views = [number > 0 ? this.forward(before, number - 1) : null,
			this.forward(after, number)];
		return this.views;
	}

	/* The heap after a call, likewise. */
	at(number) {
		return this.around(number)[1];
	}

	/* Forgets all calls after a number; the list of calls was cut, or will be. */
	cut(number) {
		if (number < this.done) {
			this.keyframes.length = Math.floor(number / this.stride) + 1;
			this.front = this.forward(null, number);
			this.front.journal = null;
			this.views = [null, null];
		}
		for (const column of [this.result, this.looked, this.process, this.mapped, this.holes,
			this.largest, this.requests, this.lookedInAll, this.lookedAtMost, this.failed])
			column.length = number + 1;
	}
}

/* Compares two runs after a call: the blocks that lie elsewhere, or are only in one. */
function differences(one, other) {
	const found = [];
	one.blocks.forEach((segment, block) => {
		const there = other.blocks[block];
		if (segment && (!there || there.start !== segment.start))
			found.push(block);
	});
	return found;
}

if (typeof module !== 'undefined') {
	const engine = require('./engine.js');
	Object.assign(globalThis, engine);
	module.exports = {Calls, Numbers, Run, callsRead, idsRead, rememberedRead, differences};
}
