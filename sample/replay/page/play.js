/*
 * A heap to play on: calls that are typed or clicked, and taken back; what was written into blocks.
 * Depends on engine.js and history.js.
 */
'use strict';

const SIZE_MOST = 2 ** 40; /* of a block that is played with, in bytes */
const START_MOST = 2 ** 31; /* of the heap: the library has no higher one */
const WRITE_MOST = 4096;   /* bytes that are written at once */

/* The words that a call may be typed with. */
const VERBS = {
	__proto__: null, /* "constructor" is no call */
	malloc: 'a', mems_malloc: 'a', a: 'a', alloc: 'a', calloc: 'c', mems_calloc: 'c', c: 'c',
	aligned: 'm', aligned_alloc: 'm', mems_aligned_alloc: 'm', m: 'm', realloc: 'r',
	mems_realloc: 'r', r: 'r', resize: 'r', free: 'f', mems_free: 'f', f: 'f', write: 'w', w: 'w',
};
const FORMS = {a: 'malloc SIZE', c: 'calloc SIZE', m: 'aligned ALIGNMENT SIZE', f: 'free BLOCK',
	r: 'realloc BLOCK SIZE', w: 'write BLOCK TEXT'};

/* Math.log2 alone takes 2 ** 53 - 1 for one. */
const isPowerOfTwo = number => Number.isInteger(number) && number >= 1 &&
	2 ** Math.round(Math.log2(number)) === number;

class Player {
	constructor() {
		this.reset(new Calls(), {policy: 'first_fit', alignment: 8, page: 4096, start: 1000, limit: 0},
			[]);
	}

	/* Starts from these calls. names: of their blocks, [] for their numbers. */
	reset(calls, options, names) {
		this.calls = calls;
		this.options = {...options};
		this.names = names;
		this.writes = []; /* {after: a call, block, offset, bytes} */
		this.undone = [];
		this.done = [];
		this.run = new Run(calls, this.options);
		this.run.advance(Infinity);
	}

	nameOf(block) {
		return this.names[block] === undefined ?
			`${this.names.length > 0 ? 'b' : ''}${block}` : this.names[block];
	}

	/* All calls are made anew under other options. */
	set(options) {
		this.options = {...this.options, ...options};
		this.run = new Run(this.calls, this.options);
		this.run.advance(Infinity);
	}

	/* The block with a name that is live after a call, or an error. */
	blockNamed(name, at) {
		const clean = name.replace(/^#/, '');
		const found = this.run.at(at).blocks.findIndex((segment, block) =>
			segment && this.nameOf(block) === clean);
		if (found < 0)
			throw new Error(`There is no block ${clean} at this step.`);
		return found;
	}

	static sizeOf(text) {
		const size = Number(text);
		if (!/^\d+$/.test(text) || size < 1 || size > SIZE_MOST)
			throw new Error(`A size is a number from 1 to ${many(SIZE_MOST)}, not ${text}.`);
		return size;
	}

	/* Reads what was typed, as a call or as something to write. */
	read(text, at) {
		const words = text.trim().split(/[\s,();=]+/).filter(word => word);
		const verb = /^\d+$/.test(words[0]) ? 'a' : VERBS[words.shift()];
		if (!verb)
			throw new Error('That is none of the calls above.');
		if (verb === 'c' && words.length === 2)
			words.splice(0, 2, String(Player.sizeOf(words[0]) * Player.sizeOf(words[1])));
		if (verb === 'w' && words.length >= 2)
			return {kind: 'w', block: this.blockNamed(words[0], at),
				text: text.trim().replace(/^\S+\s+\S+\s+/, '')};
		const [first, second] = words;
		if (words.length !== {a: 1, c: 1, m: 2, f: 1, r: 2, w: 2}[verb])
			throw new Error(`The form is: ${FORMS[verb]}`);
		if (verb === 'm' && !isPowerOfTwo(Number(first)))
			throw new Error('An alignment is a power of two.');
		if (verb === 'f' || verb === 'r')
			return {kind: verb, block: this.blockNamed(first, at),
				size: verb === 'r' ? Player.sizeOf(second) : 0, alignment: 0};
		return {kind: verb, block: this.calls.blocks, size: Player.sizeOf(words[words.length - 1]),
			alignment: verb === 'm' ? Number(first) : 0};
	}

	/* Does what read gave, after a call; what came later is taken back. Returns the call to show. */
	act(what, at) {
		const record = {at, was: this.calls.count, removed: [], added: [], writes: this.writes};
		const written = what.kind === 'w' ? this.write(what, at) : null;
		for (let number = at + 1; number <= this.calls.count; number++)
			record.removed.push(this.calls.get(number));
		this.cut(at);
		this.writes = this.writes.filter(write => write.after <= at);
		if (written) {
			this.writes = [...this.writes, written];
		} else {
			record.added.push({...what, block: 'acm'.includes(what.kind) ? this.calls.blocks :
				what.block});
			this.add(record.added);
		}
		record.after = this.writes;
		this.done.push(record);
		this.undone.length = 0;
		return this.calls.count;
	}

	write({block, text}, at) {
		const data = new TextEncoder().encode(text);
		const {size} = this.run.at(at).blocks[block];
		if (data.length > Math.min(size, WRITE_MOST))
			throw new Error(`That has ${bytes(data.length)}, and the block has room for ` +
				`${bytes(Math.min(size, WRITE_MOST))}.`);
		return {after: at, block, bytes: data};
	}

	add(calls) {
		for (const {kind, block, size, alignment, label} of calls)
			this.calls.add(kind, block, size, alignment, label);
		this.run.advance(Infinity);
	}

	cut(at) {
		if (at === this.calls.count)
			return;
		this.run.cut(at);
		this.calls.cut(at);
	}

	/* Takes the last action back: the call to show, or -1. */
	undo() {
		const record = this.done.pop();
		if (!record)
			return -1;
		this.cut(record.at);
		this.add(record.removed);
		this.writes = record.writes;
		this.undone.push(record);
		return record.at;
	}

	redo() {
		const record = this.undone.pop();
		if (!record)
			return -1;
		this.cut(record.at);
		this.add(record.added);
		this.writes = record.after;
		this.done.push(record);
		return this.calls.count;
	}

	/* The bytes of a live block after a call: null for those that nobody has written. */
	contents(block, at) {
		const {kind, block: blocks} = this.calls;
		let taken = at;
		while (taken > 0 && !(blocks[taken - 1] === block && 'acm'.includes(kind[taken - 1])))
			taken--;
		let found = [];
		for (let number = taken; number <= at; number++) {
			if (number > 0 && blocks[number - 1] === block)
				found = this.resized(found, number);
			for (const write of this.writes)
				if (write.after === number && write.block === block)
					write.bytes.forEach((byte, i) => { found[i] = byte; });
		}
		return found;
	}

	resized(found, number) {
		const {kind, size} = this.calls.get(number);
		if (this.run.result[number] === 0)
			return found;
		const shown = Math.min(size, WRITE_MOST);
		return Array.from({length: shown}, (_, i) => kind === 'c' ? 0 : kind === 'r' &&
			i < found.length ? found[i] : null);
	}
}

/* Bytes in lines of sixteen, in hexadecimal and as text. */
function dumpText(found) {
	const lines = [];
	for (let at = 0; at < found.length; at += 16) {
		const part = found.slice(at, at + 16);
		const hex = part.map(b => b === null ? '··' : b.toString(16).padStart(2, '0')).join(' ');
		const text = part.map(b => b === null ? '·' : b >= 32 && b < 127 ?
			String.fromCharCode(b) : '.').join('');
		lines.push(`${String(at).padStart(4)}  ${hex.padEnd(47)}  ${text}`);
	}
	return lines.join('\n');
}

if (typeof module !== 'undefined') {
	Object.assign(globalThis, require('./engine.js'), require('./history.js'),
		require('./words.js'));
	module.exports = {Player, dumpText};
}
