/*
 * The heap of the textbooks in JavaScript: the twin of textbook.c, which says how it works. The
 * page runs on it, and the tests compare the two call by call.
 *
 * Segments are objects, linked in sub-chains as they are there. The free list is cut into chunks
 * that know their largest HOLE, so that a search can pass over those where nothing fits; it still
 * knows how many HOLEs it would have looked at.
 *
 * A call is {kind, block, size, alignment}: kind is a, c, m, r, f or g as in a trace, block a
 * number. Sizes are bytes and virtual addresses. Depends on nothing.
 */
'use strict';

const POLICIES = ['first_fit', 'next_fit', 'best_fit', 'worst_fit', 'quick_fit'];
const PROCESS = 1, HOLE = 2, QUICK = 3;
const QUICK_LARGEST = 64 << 10; /* the largest block that a quick list takes */
const QUICK_NODE_PAGES = 16;    /* the least that quick fit asks the system for */
const CHUNK_MOST = 128;         /* HOLEs in a chunk of the free list */
const JOURNAL_MOST = 256;       /* calls that can be taken back */
const COUNTERS = ['rover', 'calls', 'segments', 'process', 'mapped', 'looked', 'trimmed', 'requested',
	'shownHoles', 'quickBlocks', 'quickBytes'];

/* ---- The free list --------------------------------------------------------------------------- */

class FreeList {
	constructor() {
		this.chunks = []; /* each {holes, largest}, none of them empty, by address */
		this.count = 0;
	}

	/* The index of the last chunk that begins at or before an address; 0 where none does. */
	chunkAt(address) {
		let low = 0, high = this.chunks.length;
		while (high - low > 1) {
			const middle = (low + high) >> 1;
			if (this.chunks[middle].holes[0].start <= address)
				low = middle;
			else
				high = middle;
		}
		return low;
	}

	/* How many HOLEs of a list start before an address. */
	static before(holes, address) {
		let low = 0, high = holes.length;
		while (low < high) {
			const middle = (low + high) >> 1;
			if (holes[middle].start < address)
				low = middle + 1;
			else
				high = middle;
		}
		return low;
	}

	static measure(chunk) {
		let largest = 0;
		for (const hole of chunk.holes)
			largest = Math.max(largest, hole.size);
		chunk.largest = largest;
	}

	add(hole) {
		this.count++;
		if (this.chunks.length === 0) {
			this.chunks.push({holes: [hole], largest: hole.size});
			return;
		}
		const index = this.chunkAt(hole.start), chunk = this.chunks[index];
		chunk.holes.splice(FreeList.before(chunk.holes, hole.start), 0, hole);
		chunk.largest = Math.max(chunk.largest, hole.size);
		if (chunk.holes.length > CHUNK_MOST) {
			const upper = {holes: chunk.holes.splice(CHUNK_MOST >> 1), largest: 0};
			this.chunks.splice(index + 1, 0, upper);
			FreeList.measure(chunk);
			FreeList.measure(upper);
		}
	}

	remove(hole) {
		const index = this.chunkAt(hole.start), chunk = this.chunks[index];
		this.count--;
		chunk.holes.splice(FreeList.before(chunk.holes, hole.start), 1);
		if (chunk.holes.length === 0)
			this.chunks.splice(index, 1);
		else if (hole.size === chunk.largest)
			FreeList.measure(chunk);
	}

	/* The HOLE that an address lies in, or null. */
	at(address) {
		if (this.chunks.length === 0)
			return null;
		const holes = this.chunks[this.chunkAt(address)].holes;
		const hole = holes[FreeList.before(holes, address + 1) - 1];
		return hole && address < hole.start + hole.size ? hole : null;
	}

	largest() {
		let largest = 0;
		for (const chunk of this.chunks)
			largest = Math.max(largest, chunk.largest);
		return largest;
	}

	/* How many HOLEs start before an address. */
	rank(address) {
		let rank = 0;
		if (this.chunks.length === 0)
			return 0;
		const index = this.chunkAt(address);
		for (let i = 0; i < index; i++)
			rank += this.chunks[i].holes.length;
		return rank + FreeList.before(this.chunks[index].holes, address);
	}

	/* The first HOLE from an address on, and before another, that fits a request; or null. */
	first(from, to, size, fits) {
		for (let i = this.chunkAt(from); i < this.chunks.length; i++) {
			const {holes, largest} = this.chunks[i];
			if (largest < size)
				continue;
			for (let k = FreeList.before(holes, from); k < holes.length; k++) {
				if (holes[k].start >= to)
					return null;
				if (fits(holes[k]))
					return holes[k];
			}
		}
		return null;
	}

	/* The smallest of those that fit, the first of equals; or null. None is smaller than one of
	 * just the size. */
	smallest(size, fits) {
		let best = null;
		for (const {holes, largest} of this.chunks) {
			if (largest < size)
				continue;
			for (const hole of holes)
				if (hole.size >= size && (best === null || hole.size < best.size) && fits(hole))
					best = hole;
			if (best !== null && best.size === size)
				return best;
		}
		return best;
	}

	/* The largest likewise. */
	largestFit(size, fits) {
		let best = null;
		for (const {holes, largest} of this.chunks)
			if (largest >= size && (best === null || largest > best.size))
				for (const hole of holes)
					if ((best === null || hole.size > best.size) && fits(hole))
						best = hole;
		return best;
	}

	* [Symbol.iterator]() {
		for (const {holes} of this.chunks)
			yield* holes;
	}
}

/* ---- The heap -------------------------------------------------------------------------------- */

class Heap {
	/* options: policy, alignment, start, page, and limit, 0 for none. */
	constructor(options) {
		this.options = {policy: 'first_fit', alignment: 8, start: 1000, page: 4096, limit: 0,
			...options};
		this.nodes = [];  /* the main chain: {index, start, end, first} */
		this.blocks = []; /* the segments of live blocks, by their number */
		this.holes = new FreeList();
		this.quick = new Map(); /* the quick lists, by size */
		this.quickBlocks = 0;
		this.quickBytes = 0;
		this.rover = 0;   /* next fit: where the last block taken ended */
		this.calls = 0;   /* made so far, those that failed too */
		this.segments = 0;
		this.process = 0;
		this.mapped = 0;
		this.looked = 0;  /* at so many HOLEs did the last call look */
		this.trimmed = 0; /* the last call that emptied the quick lists */
		this.requested = 0; /* the last call that needed a HOLE */
		this.shownHoles = 0; /* what is free, QUICK merged with its neighbours as all who look see it */
		this.journal = null; /* of the last calls, if it is kept: how to take each of them back */
	}

	/* ---- Taking calls back ---- */

	/* A call begins. */
	journalBegin({block}) {
		const {journal} = this;
		if (journal.length >= 2 * JOURNAL_MOST)
			journal.splice(0, JOURNAL_MOST);
		journal.push({counters: COUNTERS.map(name => this[name]), block,
			segment: this.blocks[block], steps: []});
	}

	/* Notes how a change that was just made is taken back. */
	note(step) {
		if (this.journal)
			this.journal[this.journal.length - 1].steps.push(step);
	}

	/* Notes a segment that is about to change. */
	touch(segment) {
		const {kind, block, call, remembered} = segment;
		this.note(() => Object.assign(segment, {kind, block, call, remembered}));
	}

	/* Takes the last call back. */
	undo() {
		const {counters, block, segment, steps} = this.journal.pop();
		while (steps.length > 0)
			steps.pop()();
		COUNTERS.forEach((name, i) => { this[name] = counters[i]; });
		this.blocks[block] = segment;
	}

	addHole(hole) {
		this.holes.add(hole);
		this.note(() => this.holes.remove(hole));
	}

	removeHole(hole) {
		this.holes.remove(hole);
		this.note(() => this.holes.add(hole));
	}

	/* ---- Sub-chains ---- */

	segment(node, kind, start, size) {
		this.segments++;
		return {kind, start, size, node, previous: null, next: null, block: -1, call: this.calls,
			remembered: 0};
	}

	/* Cuts a segment that is in no list in two: this size, and the rest, which is returned. */
	split(first, size) {
		const rest = this.segment(first.node, first.kind, first.start + size, first.size - size);
		this.touch(first);
		this.note(() => Heap.join(first));
		rest.previous = first;
		rest.next = first.next;
		if (rest.next)
			rest.next.previous = rest;
		first.next = rest;
		first.size = size;
		first.call = this.calls;
		return rest;
	}

	/* The other way round: a segment swallows the one on its right. */
	merge(first) {
		const rest = first.next;
		this.touch(first);
		this.note(() => Heap.part(first, rest));
		Heap.join(first);
		first.remembered += rest.remembered;
		first.call = this.calls;
		this.segments--;
	}

	static join(first) {
		const rest = first.next;
		first.size += rest.size;
		first.next = rest.next;
		if (first.next)
			first.next.previous = first;
	}

	static part(first, rest) {
		first.size -= rest.size;
		first.next = rest;
		if (rest.next)
			rest.next.previous = rest;
	}

	/* How many neighbours of a segment are free: as many more HOLEs are shown when it is taken, less
	 * the one that it was. */
	static freeBeside({previous, next}) {
		return (previous && previous.kind !== PROCESS ? 1 : 0) +
			(next && next.kind !== PROCESS ? 1 : 0);
	}

	/* Makes a HOLE of a segment, and merges it with those beside it. */
	free(segment) {
		this.shownHoles += 1 - Heap.freeBeside(segment);
		this.touch(segment);
		segment.kind = HOLE;
		segment.block = -1;
		segment.call = this.calls;
		if (segment.next && segment.next.kind === HOLE) {
			this.removeHole(segment.next);
			this.merge(segment);
		}
		if (segment.previous && segment.previous.kind === HOLE) {
			segment = segment.previous;
			this.removeHole(segment);
			this.merge(segment);
		}
		this.addHole(segment);
	}

	/* Makes a PROCESS of part of a HOLE. The gap before it and the rest behind it stay HOLEs. */
	take(hole, gap, size) {
		this.removeHole(hole);
		const block = gap === 0 ? hole : this.split(hole, gap);
		if (gap > 0)
			this.addHole(hole);
		if (block.size > size)
			this.addHole(this.split(block, size));
		this.touch(block);
		this.shownHoles += Heap.freeBeside(block) - 1;
		block.kind = PROCESS;
		block.remembered = 0;
		block.call = this.calls;
		return block;
	}

	/* ---- The search ---- */

	/* The bytes before the first address in a HOLE where an aligned block may start. */
	gap(hole, alignment) {
		return (alignment - (hole.start - this.options.start) % alignment) % alignment;
	}

	round(size) {
		return Math.ceil(Math.max(1, size) / this.options.alignment) * this.options.alignment;
	}

	fits(hole, size, alignment) {
		return hole.size >= size + this.gap(hole, alignment);
	}

	/* The HOLE that the policy takes, or null; counts those that it looks at. */
	search(size, alignment) {
		const fits = hole => this.fits(hole, size, alignment);
		const {policy} = this.options;
		let found;
		if (policy === 'best_fit' || policy === 'worst_fit') {
			found = policy === 'best_fit' ? this.holes.smallest(size, fits) :
				this.holes.largestFit(size, fits);
			this.looked += this.holes.count;
			return found;
		}
		const from = policy === 'next_fit' ? this.rover : 0;
		const passed = this.holes.rank(from);
		found = this.holes.first(from, Infinity, size, fits);
		if (found === null && passed > 0) {
			found = this.holes.first(0, from, size, fits);
			this.looked += this.holes.count - passed;
			this.looked += found === null ? passed : this.holes.rank(found.start) + 1;
		} else {
			this.looked += found === null ? this.holes.count :
				this.holes.rank(found.start) + 1 - passed;
		}
		return found;
	}

	/* ---- The main chain ---- */

	append(size) {
		const start = this.options.start + this.mapped;
		const node = {index: this.nodes.length, start, end: start + size - 1, first: null};
		node.first = this.segment(node, HOLE, start, size);
		this.nodes.push(node);
		this.note(() => this.nodes.pop());
		this.mapped += size;
		this.shownHoles++;
		this.addHole(node.first);
		return node.first;
	}

	/* How many pages the next main node will have for a block; 0 where the limit forbids it. */
	growth(size, isMove) {
		const {page, limit, policy} = this.options;
		const mapped = this.mapped / page;
		const most = limit ? Math.floor(limit / page) - mapped : Infinity;
		const needed = Math.ceil(size / page);
		let wanted = Math.max(isMove ? needed + Math.floor(needed / 2) : needed,
			Math.floor(mapped / 8));
		if (policy === 'quick_fit')
			wanted = Math.max(wanted, QUICK_NODE_PAGES);
		if (needed > most)
			return 0;
		return wanted > most ? needed : wanted;
	}

	/* ---- Quick lists ---- */

	hasList(size) {
		return this.options.policy === 'quick_fit' && size <= QUICK_LARGEST;
	}

	/* Can a request be answered by a quick list? */
	isQuick(size, alignment) {
		return this.hasList(size) && this.quick.has(size) && alignment <= this.options.alignment;
	}

	/* Puts a block on top of its list, and takes it away. */
	static quickPut(quick, block) {
		if (!quick.has(block.size))
			quick.set(block.size, []);
		quick.get(block.size).push(block);
	}

	static quickTake(quick, size) {
		const list = quick.get(size), block = list.pop();
		if (list.length === 0)
			quick.delete(size);
		return block;
	}

	pop(size) {
		const block = Heap.quickTake(this.quick, size);
		this.note(() => Heap.quickPut(this.quick, block));
		this.touch(block);
		this.quickBlocks--;
		this.quickBytes -= size;
		this.shownHoles += Heap.freeBeside(block) - 1;
		block.kind = PROCESS;
		block.call = this.calls;
		return block;
	}

	push(block) {
		const {size} = block;
		Heap.quickPut(this.quick, block);
		this.note(() => Heap.quickTake(this.quick, size));
		this.touch(block);
		this.quickBlocks++;
		this.quickBytes += block.size;
		this.shownHoles += 1 - Heap.freeBeside(block);
		block.kind = QUICK;
		block.block = -1;
		block.call = this.calls;
	}

	/* Empties the quick lists: all that they remember is merged. */
	trim() {
		this.trimmed = this.calls;
		const sizes = [...this.quick.keys()].sort((a, b) => a - b);
		for (const size of sizes)
			while (this.quick.has(size))
				this.free(this.pop(size));
	}

	/* What a recording says of the library's own quick fit after a call: the bytes of HOLEs that it
	 * remembers, [start, bytes] for those that have changed. isFlushed: no other HOLE has any. */
	remember({isFlushed, holes}) {
		if (isFlushed)
			for (const hole of this.holes)
				this.setRemembered(hole, 0);
		for (const [start, bytes] of holes)
			this.setRemembered(this.holes.at(start), bytes);
	}

	setRemembered(hole, bytes) {
		if (hole.remembered === bytes)
			return;
		this.touch(hole);
		hole.remembered = bytes;
	}

	/* ---- Blocks ---- */

	/* A new block, or null. */
	obtain(size, alignment, isMove) {
		this.requested = this.calls;
		if (this.isQuick(size, alignment)) {
			this.looked = 1;
			return this.pop(size);
		}
		let hole = this.search(size, alignment);
		if (hole === null && this.quickBlocks > 0) {
			this.trim();
			hole = this.search(size, alignment);
		}
		if (hole === null) {
			const pages = this.growth(size, isMove);
			if (pages === 0)
				return null;
			hole = this.append(pages * this.options.page);
		}
		return this.take(hole, this.gap(hole, alignment), size);
	}

	/* The same where the address is known, as in a recording, or is 0 where the limit left no room;
	 * pages: of main nodes that come. The library's own quick fit does not say at how many HOLEs it
	 * looks. */
	obtainAt({address, pages}, size, alignment) {
		this.requested = this.calls;
		if (this.options.policy !== 'recorded')
			this.search(size, alignment);
		if (address === 0)
			return null;
		while (address >= this.options.start + this.mapped && pages.length > 0)
			this.append(pages.shift() * this.options.page);
		const hole = this.holes.at(address);
		if (hole === null || hole.start + hole.size < address + size)
			throw new Error(`the recording has a block at ${address}, where no HOLE is`);
		return this.take(hole, address - hole.start, size);
	}

	/* Gives a number to a block that was taken. */
	own(segment, block) {
		this.touch(segment);
		segment.block = block;
		this.blocks[block] = segment;
		this.process += segment.size;
		this.rover = segment.start + segment.size;
		return segment.start;
	}

	release(segment) {
		this.process -= segment.size;
		if (this.hasList(segment.size))
			this.push(segment);
		else
			this.free(segment);
	}

	resize(call, block, size, recorded) {
		const old = block.size;
		if (recorded ? recorded.address === block.start : size <= old || this.hasRoom(block, size)) {
			if (size < old)
				this.free(this.tail(block, size));
			else if (size > old)
				this.grow(block, size);
			else
				this.stay(block);
			this.process += size - old;
			return block.start;
		}
		const moved = recorded ? this.obtainAt(recorded, size, 1) : this.obtain(size, 1, true);
		if (moved === null)
			return 0;
		this.own(moved, call.block);
		this.release(block);
		return moved.start;
	}

	stay(block) {
		this.touch(block);
		block.call = this.calls;
	}

	/* Cuts the end off a block. */
	tail(block, size) {
		const rest = this.split(block, size);
		rest.block = -1;
		return rest;
	}

	hasRoom(block, size) {
		return block.next !== null && block.next.kind === HOLE &&
			block.size + block.next.size >= size;
	}

	grow(block, size) {
		this.take(block.next, 0, size - block.size);
		this.merge(block);
	}

	/* Makes a call: the address that it gives, or frees; 0 where it failed or has none, or where the
	 * block is not live. recorded: {address, pages} where a recording says the place. */
	call(call, recorded) {
		const block = this.blocks[call.block];
		if (this.journal)
			this.journalBegin(call);
		this.calls++;
		this.looked = 0;
		if (call.kind === 'g') {
			this.trim();
			return 0;
		}
		if (call.kind === 'f') {
			if (!block)
				return 0;
			this.blocks[call.block] = undefined;
			this.release(block);
			return block.start;
		}
		const size = this.round(call.size);
		if (call.alignment > this.options.page) {
			this.requested = this.calls;
			return 0;
		}
		if (call.kind === 'r')
			return block ? this.resize(call, block, size, recorded) : 0;
		const alignment = call.kind === 'm' ? call.alignment : 1;
		const taken = recorded ? this.obtainAt(recorded, size, alignment) :
			this.obtain(size, alignment, false);
		return taken === null ? 0 : this.own(taken, call.block);
	}

	/* ---- Looking ---- */

	/* All segments as they are, or those of one main node. */
	* walk(node) {
		for (const one of node ? [node] : this.nodes)
			for (let segment = one.first; segment; segment = segment.next)
				yield segment;
	}

	/* How many bytes are free, but kept for requests of a certain size. */
	rememberedBytes() {
		let sum = this.quickBytes;
		if (this.options.policy === 'recorded')
			for (const hole of this.holes)
				sum += hole.remembered;
		return sum;
	}

	/* The largest HOLE as all who look see it. */
	largestShown() {
		let largest = 0;
		if (this.quickBlocks === 0)
			return this.holes.largest();
		for (const node of this.nodes) {
			let size = 0;
			for (let s = node.first; s; s = s.next) {
				size = s.kind === PROCESS ? 0 : size + s.size;
				largest = Math.max(largest, size);
			}
		}
		return largest;
	}

	/* The chains in a line: "N P1000-1999 H2000-5095 N ...", QUICK shown as part of a HOLE. What a
	 * recording says that is remembered of a HOLE follows it: "H2000-5095+104". */
	text() {
		const words = [];
		for (const node of this.nodes) {
			let isFree = false;
			words.push('N');
			for (let s = node.first; s; s = s.next) {
				const end = s.start + s.size - 1;
				if (s.kind !== PROCESS && isFree)
					words[words.length - 1] = words[words.length - 1].replace(/-.*/, `-${end}`);
				else
					words.push(`${s.kind === PROCESS ? 'P' : 'H'}${s.start}-${end}` +
						(s.remembered ? `+${s.remembered}` : ''));
				isFree = s.kind !== PROCESS;
			}
		}
		return words.join(' ');
	}

	/* ---- Keeping a state ---- */

	/* All there is to know, small. */
	save() {
		const {nodes, segments} = this;
		const saved = {
			ends: nodes.map(node => node.end), rover: this.rover, calls: this.calls,
			process: this.process, looked: this.looked, shownHoles: this.shownHoles,
			sizes: new Float64Array(segments),
			blocks: new Int32Array(segments), madeBy: new Int32Array(segments),
			isHole: new Uint8Array(segments), quick: [], remembered: [],
		};
		const numbers = new Map();
		let i = 0;
		for (const node of nodes) {
			for (let s = node.first; s; s = s.next, i++) {
				saved.sizes[i] = s.size;
				saved.blocks[i] = s.block;
				saved.madeBy[i] = s.call;
				saved.isHole[i] = s.kind === HOLE ? 1 : 0;
				if (s.remembered)
					saved.remembered.push([s.start, s.remembered]);
				if (s.kind === QUICK)
					numbers.set(s, i);
			}
		}
		for (const [size, list] of this.quick)
			saved.quick.push([size, list.map(s => numbers.get(s))]);
		return saved;
	}

	static load(options, saved) {
		const heap = new Heap(options);
		const all = [];
		let i = 0;
		heap.calls = saved.calls;
		heap.rover = saved.rover;
		heap.looked = saved.looked;
		heap.shownHoles = saved.shownHoles;
		heap.process = saved.process;
		for (const end of saved.ends) {
			const start = heap.options.start + heap.mapped;
			const node = {index: heap.nodes.length, start, end, first: null};
			let last = null;
			heap.nodes.push(node);
			for (let at = start; at <= end; at += saved.sizes[i++]) {
				const s = heap.segment(node, saved.isHole[i] ? HOLE : PROCESS, at, saved.sizes[i]);
				s.block = saved.blocks[i];
				s.call = saved.madeBy[i];
				s.previous = last;
				if (last)
					last.next = s;
				else
					node.first = s;
				last = s;
				all.push(s);
				if (s.block >= 0)
					heap.blocks[s.block] = s;
			}
			heap.mapped += end - start + 1;
		}
		heap.fill(all, saved);
		return heap;
	}

	/* The lists of a state that was loaded. */
	fill(all, saved) {
		const holes = all.filter((s, i) => saved.isHole[i]);
		for (let i = 0; i < holes.length; i += CHUNK_MOST >> 1) {
			const chunk = {holes: holes.slice(i, i + (CHUNK_MOST >> 1)), largest: 0};
			FreeList.measure(chunk);
			this.holes.chunks.push(chunk);
		}
		this.holes.count = holes.length;
		this.remember({isFlushed: false, holes: saved.remembered});
		for (const [size, list] of saved.quick) {
			this.quick.set(size, list.map(i => all[i]));
			for (const i of list)
				all[i].kind = QUICK;
			this.quickBlocks += list.length;
			this.quickBytes += list.length * size;
		}
	}
}

if (typeof module !== 'undefined')
	module.exports = {Heap, JOURNAL_MOST, POLICIES, PROCESS, HOLE, QUICK, QUICK_NODE_PAGES};
