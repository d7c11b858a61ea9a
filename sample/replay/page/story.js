/*
 * Why a call did what it did: which HOLEs were looked at, in which order, and what came of it; and
 * what a free merged. A story is told from the states of the heap before and after the call, and
 * from the rules of engine.js. Depends on engine.js, history.js and words.js.
 *
 * A story is {badges, lines, search, strips, effect}: short words, sentences, the search (or null),
 * the place before and after, and what happened in a form that programs read (see predict.js).
 */
'use strict';

const LOOKS_SHOWN = 12; /* of the HOLEs that a search looks at: the first of them, and the last */

const SEARCH_RULES = {
	first_fit: 'First fit looks at the HOLEs by address and takes the first that is large enough.',
	next_fit: 'Next fit begins where the last block taken ended, goes round, and takes the first ' +
		'HOLE that is large enough.',
	best_fit: 'Best fit looks at all HOLEs and takes the smallest that is large enough, the lowest ' +
		'of equals.',
	worst_fit: 'Worst fit looks at all HOLEs and takes the largest, the lowest of equals.',
	quick_fit: 'Quick fit takes a block of just this size that was freed before; else it looks at ' +
		'the HOLEs by address, like first fit.',
	recorded: 'Quick fit, as the library has it, takes a block of just this size that it remembers, ' +
		'or else searches like first fit among the HOLEs that it has merged.',
};

/* ---- Searches -------------------------------------------------------------------------------- */

/* Why a search passes over a HOLE, or takes it. */
function verdictOf(heap, hole, taken, size, alignment) {
	if (taken && hole.start === taken.start)
		return 'taken';
	if (hole.size < size)
		return 'too small';
	if (!heap.fits(hole, size, alignment))
		return 'no room at an aligned place';
	if (heap.options.policy === 'best_fit')
		return hole.size > taken.size ? 'fits, but is larger' : 'fits as well, but lies higher';
	return hole.size < taken.size ? 'fits, but is smaller' : 'fits as well, but lies higher';
}

/* The HOLEs in the order in which a search looks at them. */
function* searchOrder(heap) {
	const {policy} = heap.options;
	const from = policy === 'next_fit' ? heap.rover : 0;
	for (const hole of heap.holes)
		if (hole.start >= from)
			yield hole;
	for (const hole of heap.holes) {
		if (hole.start >= from)
			return;
		yield hole;
	}
}

/* What a search looks at in this state of the heap: the first looks, how many are left out then,
 * and the last ones. */
function searchTell(heap, size, alignment) {
	const policy = heap.options.policy;
	const looked = heap.looked;
	const taken = heap.search(size, alignment);
	const isWhole = policy === 'best_fit' || policy === 'worst_fit';
	const told = {policy, looks: [], count: 0, left: 0, largest: heap.holes.largest(), size,
		alignment, taken: taken && copyOf(taken), rover: heap.rover};
	heap.looked = looked;
	for (const hole of searchOrder(heap)) {
		const look = {...copyOf(hole), order: ++told.count,
			verdict: verdictOf(heap, hole, taken, size, alignment)};
		told.looks.push(look);
		if (told.looks.length > LOOKS_SHOWN) {
			const isKept = told.looks[LOOKS_SHOWN - 2].verdict === 'taken';
			told.looks.splice(isKept ? LOOKS_SHOWN - 1 : LOOKS_SHOWN - 2, 1);
			told.left++;
		}
		if (!isWhole && look.verdict === 'taken')
			break;
	}
	return told;
}

/* The search of a call in words. */
function searchLine(search) {
	if (search.count === 0)
		return 'There is no HOLE to look at.';
	if (search.taken === null)
		return search.count === 1 ? `The one HOLE has ${bytes(search.largest)}: it does not do.` :
			`None of the ${many(search.count)} HOLEs does; the largest has ${bytes(search.largest)}.`;
	return '';
}

/* ---- Places ---------------------------------------------------------------------------------- */

/* The segment that an address lies in, or null. */
function segmentAt(heap, address) {
	const node = heap.nodes[nodeIndexAt(heap, address)];
	if (!node || address > node.end)
		return null;
	for (let s = node.first; s; s = s.next)
		if (address < s.start + s.size)
			return s;
	return null;
}

/* The index of the main node that an address lies in; -1 where it lies before all. */
function nodeIndexAt(heap, address) {
	let low = 0, high = heap.nodes.length;
	while (low < high) {
		const middle = (low + high) >> 1;
		if (heap.nodes[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low - 1;
}

/* A segment and so many neighbours on each side, in its main node. */
function around(segment, sides) {
	const found = [copyOf(segment)];
	for (let s = segment.previous, i = 0; s && i < sides; s = s.previous, i++)
		found.unshift(copyOf(s));
	for (let s = segment.next, i = 0; s && i < sides; s = s.next, i++)
		found.push(copyOf(s));
	return found;
}

/* The segments that lie in [from, to], and a neighbour on each side in the same main node. */
function stretch(heap, from, to) {
	const first = segmentAt(heap, from);
	let last = first;
	while (last.next && endOf(last) < to)
		last = last.next;
	const begin = first.previous || first, end = last.next || last;
	const found = [];
	for (let s = begin; ; s = s.next) {
		found.push(copyOf(s));
		if (s === end)
			return found;
	}
}

/* One place before and after: of the segments before, those where others are shown after. */
function place(wide, after) {
	const from = after[0].start, to = after[after.length - 1].end;
	return {before: wide.filter(s => s.end >= from && s.start <= to), after};
}

/* ---- Allocations ----------------------------------------------------------------------------- */

/* Why a new main node has so many pages. */
function growthLine(heap, size, isMove, node) {
	const {page} = heap.options;
	const pages = (node.end - node.start + 1) / page;
	const mapped = heap.mapped / page, eighth = Math.floor(mapped / 8);
	const needed = Math.ceil(size / page);
	const begin = `So a new main node of ${plural(pages, 'page')} is mapped, ` +
		`[${node.start}:${node.end}]: `;
	if (pages === needed)
		return `${begin}${pages === 1 ? 'that is' : 'those are'} what the block needs.`;
	if (pages === eighth)
		return `${begin}an eighth of the ${many(mapped)} mapped so far.`;
	if (isMove && pages === needed + Math.floor(needed / 2))
		return `${begin}half as many again as the block needs, so that its next growth finds room.`;
	if (pages === QUICK_NODE_PAGES)
		return `${begin}the least that quick fit asks for.`;
	return `${begin}the block needs ${many(needed)} of them.`;
}

/* A request that found no HOLE. */
function nodeTell(before, after, block, isMove) {
	const node = after.nodes[block.node.index];
	return {
		badges: ['new main node'],
		lines: [growthLine(before, block.size, isMove, node)],
		strips: [{before: [], after: stretch(after, block.start, endOf(block)),
			note: 'not mapped yet'}],
		effect: {type: 'node'},
	};
}

/* A block that was taken out of a HOLE. */
function splitTell(hole, wide, after, block) {
	const rest = block.next;
	const strips = [place(wide, stretch(after, hole.start, hole.end))];
	const effect = {type: 'hole', start: hole.start, end: hole.end};
	if (hole.size === block.size)
		return {badges: ['taken whole'], strips, effect,
			lines: [`${textOf(hole)} has just the size and is taken whole.`]};
	const gap = block.start > hole.start ?
		` The gap before it stays ${textOf(block.previous)}.` : '';
	const left = rest && rest.start <= hole.end ? ` ${textOf(rest)} is left over.` : '';
	return {badges: ['split'], strips, effect,
		lines: [`${textOf(hole)} is split: ${textOf(block)} takes ${bytes(block.size)}` +
			`${gap ? '' : ' at its low end'}.${gap}${left}`]};
}

/* What is to be said before the placement: the search, and what a quick list did. */
function introduction(before, call, size, address, isMove) {
	const {policy} = before.options;
	const alignment = call.kind === 'm' ? call.alignment : 1;
	if (policy === 'quick_fit' && before.isQuick(size, alignment))
		return {search: null, lines: [`A freed block of just ${bytes(size)} is remembered, the last ` +
			'one freed: it is taken as it is, without a search.']};
	if (policy === 'recorded')
		return recordedIntroduction(before, size, alignment, address);
	const search = searchTell(before, size, alignment);
	const lines = [SEARCH_RULES[policy], searchLine(search)];
	if (policy === 'quick_fit') {
		lines[0] = `No block of just ${bytes(size)} is remembered, so the HOLEs are looked at by ` +
			'address.';
		if (search.taken === null && before.quickBlocks > 0)
			lines.push(`Before the heap grows, the ${plural(before.quickBlocks, 'block')} that ` +
				'quick fit remembers are merged, and the search is made again.');
	}
	return {search, lines, isMove};
}

/* What can be said of the library's own quick fit: it alone knows what it remembers. */
function recordedIntroduction(before, size, alignment, address) {
	const search = searchTell(before, size, alignment);
	const isFirst = search.taken !== null &&
		search.taken.start + before.gap(search.taken, alignment) === address;
	return {search: null, lines: [SEARCH_RULES.recorded, isFirst ?
		'Here it is the place that first fit takes, too.' :
		'What it remembers counts as taken when it searches, so this is not first fit\'s place.']};
}

/* The HOLE that a block was taken out of, where the quick lists were emptied to make it. */
function mergedHole(before, block) {
	const merged = Heap.load(before.options, before.save());
	merged.trim();
	return merged.holes.at(block.start);
}

/* before: the state; wide: the place in it, noted while it was there. */
function allocationTell(before, after, call, block, isMove) {
	const size = block.size;
	const {search, lines} = introduction(before, call, size, block.start, isMove);
	const isMapped = block.start < before.options.start + before.mapped;
	let told;
	if (search && isMapped !== (search.taken !== null) && before.quickBlocks === 0)
		lines.push('The recording differs from the rule here: the system refused memory.');
	if (!isMapped) {
		told = nodeTell(before, after, block, isMove);
	} else {
		const was = segmentAt(before, block.start);
		const isQuick = was.kind === QUICK && was.start === block.start && was.size === size &&
			search === null;
		const isMerged = search !== null && search.taken === null && before.quickBlocks > 0;
		const hole = isMerged ? mergedHole(before, block) : was;
		told = splitTell(copyOf(hole), around(was, 2), after, block);
		if (isQuick)
			told.badges = ['from the quick list'];
	}
	return {...told, search, lines: [...lines, ...told.lines].filter(line => line)};
}

/* ---- Frees ----------------------------------------------------------------------------------- */

/* Why a freed segment merges with a neighbour, or not. side: 'left' or 'right'. */
function sideLine(neighbour, side) {
	const where = `On its ${side}`;
	if (!neighbour)
		return `${where} its main node ${side === 'left' ? 'begins' : 'ends'}: HOLEs never merge ` +
			'across main nodes.';
	if (neighbour.kind === HOLE)
		return `${where} lies ${textOf(neighbour)}: they merge.`;
	if (neighbour.kind === QUICK)
		return `${where} lies ${textOf(neighbour)}, which quick fit remembers: no merge yet.`;
	return `${where} lies ${textOf(neighbour)}, in use: nothing to merge with.`;
}

/* What became of a PROCESS that is free now. old: its copy; left, right: of its neighbours. */
function freeTell(old, left, right, now, after) {
	const strips = wide => [place(wide, stretch(after, now.start, endOf(now)))];
	if (now.kind === QUICK)
		return {badges: ['remembered'], strips, effect: {type: 'quick'},
			lines: [`Quick fit remembers ${textOf(old)} for the next request of ${bytes(old.size)}, ` +
				'and does not merge it yet.']};
	const isLeft = left !== null && left.kind === HOLE, isRight = right !== null &&
		right.kind === HOLE;
	const sides = (isLeft ? 'left' : '') + (isRight ? 'right' : '');
	const type = {'': 'none', left: 'left', right: 'right', leftright: 'both'}[sides];
	return {
		badges: [type === 'none' ? 'freed' : 'merge'], strips, effect: {type},
		lines: [`${textOf(old)} becomes a HOLE.`, sideLine(left, 'left'), sideLine(right, 'right'),
			...(type === 'none' ? [] : [`Together they are ${textOf(now)}.`])],
	};
}

/* ---- One step -------------------------------------------------------------------------------- */

/* A block and its neighbours, copied. */
function neighbourhood(block) {
	return {old: copyOf(block), wide: around(block, 2),
		left: block.previous && copyOf(block.previous), right: block.next && copyOf(block.next)};
}

function reallocTell(before, after, call, was, block) {
	const {old} = was;
	if (block.start === old.start) {
		const strips = [place(was.wide, stretch(after, block.start,
			Math.max(old.end, endOf(block))))];
		if (block.size === old.size)
			return {badges: ['in place'], search: null, strips, effect: {type: 'same'},
				lines: [`Rounded up to the alignment, ${textOf(block)} has that size already.`]};
		if (block.size < old.size)
			return {badges: ['shrunk in place'], search: null, strips, effect: {type: 'shrink'},
				lines: [`${textOf(old)} shrinks to ${textOf(block)}; its tail becomes ` +
					`${textOf(block.next)}.`]};
		return {badges: ['grown in place'], search: null, strips, effect: {type: 'grow'},
			lines: [`On its right lies ${textOf(was.right)}, with room enough: ${textOf(old)} ` +
				`grows to ${textOf(block)}.`]};
	}
	const taken = allocationTell(before, after, call, block, true);
	const now = segmentAt(after, old.start);
	/* The old block is freed when the new one was taken, and that may be beside it. */
	const left = was.left && leftNow(after, now, old, was.left);
	const freed = freeTell(old, left, rightNow(after, block, old, was.right), now, after);
	const room = was.right && was.right.kind === HOLE ?
		`${textOf(was.right)} on its right has too little room to grow into` :
		'There is no HOLE on its right to grow into';
	return {
		badges: ['moved', ...taken.badges, ...freed.badges.filter(b => b !== 'freed')],
		lines: [`${room}, so the block moves from ${old.start} to ${block.start}.`, ...taken.lines,
			`Then the old place is freed. ${freed.lines[0]}`, ...freed.lines.slice(1)],
		search: taken.search, strips: [...taken.strips, ...freed.strips(was.wide)],
		effect: taken.effect,
	};
}

/* The left neighbour of the old place at the moment when it was freed. */
function leftNow(after, now, old, left) {
	if (now.kind === QUICK || now.start === old.start)
		return now.previous && now.start === old.start ? copyOf(now.previous) : left;
	return {...left, kind: HOLE, start: now.start, size: old.start - now.start, end: old.start - 1};
}

/* The right one likewise. */
function rightNow(after, block, old, right) {
	const now = segmentAt(after, old.start);
	if (now.kind === QUICK || right === null)
		return right;
	if (endOf(now) > old.end)
		return {...right, kind: HOLE, start: old.end + 1, size: endOf(now) - old.end,
			end: endOf(now)};
	return now.next ? copyOf(now.next) : null;
}

/* All that quick fit remembers is merged. */
function trimTell(before) {
	return {badges: ['trim'], search: null, strips: [], effect: {type: 'nothing'},
		lines: [before.rememberedBytes() === 0 ? 'Nothing is remembered here, so nothing changes.' :
			before.quickBlocks === 0 ? `The ${bytes(before.rememberedBytes())} that quick fit ` +
				'remembers are merged: the chains show them so already.' :
				`The ${plural(before.quickBlocks, 'block')} that quick fit remembers are merged.`]};
}

/* What a recording says of the library's own quick fit, beside what the chains show. */
function rememberedLines(run, after, told, freed) {
	const noted = run.recorded && run.recorded.remembered && run.recorded.remembered[after.calls];
	const hole = freed === null ? null : segmentAt(after, freed.start);
	const lines = [];
	if (noted && noted.isFlushed)
		lines.push('Before that, all that quick fit remembered was merged for good.');
	if (noted && hole !== null && keptOf(hole))
		lines.push(`Of ${textOf(hole)}, quick fit remembers ${bytes(hole.remembered)} for requests ` +
			'of just the sizes that were freed: placement treats these as taken.');
	return {...told, lines: [...told.lines, ...lines]};
}

/* A call of the program's with an address that was not a block's, in this state of the heap. */
function mistakeLine(heap, [, name, text]) {
	const address = Number(text);
	const segment = Number.isSafeInteger(address) ? segmentAt(heap, address) : null;
	const where = segment === null ? 'which is no address of the heap' :
		segment.kind === PROCESS ? `which lies inside ${textOf(segment)}` :
			`which lies in ${textOf(segment)}, free already or never given out`;
	return `Then the program made a mistake: mems_${name}(${text}), ${where}. Nothing changed.`;
}

/* A call that gave nothing. */
function failureTell(before, call, block, size) {
	if (call.kind === 'f' || (call.kind === 'r' && !block))
		return {badges: ['nothing'], search: null, strips: [], effect: {type: 'nothing'},
			lines: ['Under this policy the block could not be had, so nothing is done here.']};
	const {search, lines} = before.options.policy === 'recorded' ? {search: null, lines: [
		SEARCH_RULES.recorded, 'Here no HOLE did, not even when all that it remembers was merged.']} :
		introduction(before, call, size, 0, call.kind === 'r');
	return {
		badges: ['no memory'], search, strips: [], effect: {type: 'fail'},
		lines: [...lines, `A new main node would go beyond the limit of ` +
			`${bytes(before.options.limit)}. The call gives NULL, and the heap stays as it is.`]
			.filter(line => line),
	};
}

/* Tells the call with this number, from 1. */
function tell(run, number) {
	const call = run.calls.get(number);
	const [before, after] = run.around(number);
	const old = before.blocks[call.block];
	if (call.kind === 'g')
		return trimTell(before);
	const was = old ? neighbourhood(old) : null;
	if (run.result[number] === 0)
		return failureTell(before, call, old, before.round(call.size));
	if (call.kind === 'f') {
		const told = freeTell(was.old, was.left, was.right, segmentAt(after, was.old.start), after);
		return rememberedLines(run, after, {...told, search: null, strips: told.strips(was.wide)},
			was.old);
	}
	const block = after.blocks[call.block];
	const isMoved = call.kind === 'r' && block.start !== was.old.start;
	return rememberedLines(run, after, call.kind === 'r' ?
		reallocTell(before, after, call, was, block) :
		allocationTell(before, after, call, block, false), isMoved ? was.old : null);
}

if (typeof module !== 'undefined') {
	Object.assign(globalThis, require('./engine.js'), require('./words.js'));
	module.exports = {tell, mistakeLine, searchOrder, searchTell, segmentAt, nodeIndexAt};
}
