/*
 * Questions about the next call, and exercises, which are traces with questions. What is right is
 * what the heap does (story.js). Depends on engine.js, history.js, words.js and story.js.
 *
 * An exercise is a trace whose lines that begin with "#" are read here: the first is its title, the
 * others before the first call introduce it; "# predict" stands before the first call that is asked
 * for, and any other before a call is shown with its question.
 */
'use strict';

const PLACE_CHOICES = [
	{type: 'node', text: 'In a new main node: no HOLE is large enough'},
	{type: 'fail', text: 'Nowhere: the limit forbids it, and it gives NULL'},
];
const FREE_CHOICES = [
	{type: 'none', text: 'It becomes a HOLE of its own'},
	{type: 'left', text: 'It merges with the HOLE on its left'},
	{type: 'right', text: 'It merges with the HOLE on its right'},
	{type: 'both', text: 'It merges with the HOLEs on both sides'},
	{type: 'quick', text: 'Quick fit remembers it, unmerged'},
];
const REALLOC_CHOICES = [
	{type: 'shrink', text: 'It shrinks in place'},
	{type: 'same', text: 'It stays as it is'},
	{type: 'grow', text: 'It grows in place'},
	{type: 'node', text: 'It moves to a new main node'},
	{type: 'fail', text: 'It stays: the limit forbids a larger one, and NULL comes back'},
];

/* Can a heap with these options give this answer at all? */
function isPossible(choice, options) {
	if (choice.type === 'fail')
		return options.limit > 0;
	return choice.type !== 'quick' || options.policy === 'quick_fit';
}

/* The question about a call: {title, hint, choices, isPlace}. isPlace: a HOLE may be chosen. */
function question(run, number, nameOf) {
	const call = run.calls.get(number);
	const text = callText(call, nameOf);
	const size = run.front.round(call.size);
	const choices = {f: FREE_CHOICES, r: REALLOC_CHOICES}[call.kind] || PLACE_CHOICES;
	const asked = {choices: choices.filter(choice => isPossible(choice, run.options)),
		isPlace: call.kind !== 'f'};
	if (call.kind === 'f')
		return {...asked, title: `What will ${text} do?`,
			hint: `Block ${nameOf(call.block)} is marked in the heap.`};
	const aligned = call.kind === 'm' ?
		` at a physical address that is a multiple of ${call.alignment}` : '';
	if (call.kind === 'r')
		return {...asked, title: `What will ${text} do?`,
			hint: `It will have ${bytes(size)}. If it moves into a HOLE, choose that in the heap.`};
	return {...asked, title: `Where will ${text} go?`,
		hint: `It needs ${bytes(size)}${aligned}. Choose a HOLE in the heap, or:`};
}

/* Can this call be asked for? Not one that does nothing under this policy. */
const canAsk = (run, number) => number <= run.calls.count && run.options.policy !== 'recorded' &&
	(run.advance(number), tell(run, number).effect.type !== 'nothing');

/* Why a segment that was chosen is not the place. */
function wrongPlace(run, heap, call, from, to) {
	const size = heap.round(call.size), alignment = call.kind === 'm' ? call.alignment : 1;
	const chosen = segmentAt(heap, from);
	if (to > endOf(chosen))
		return `It does not go between ${from} and ${to}.`;
	if (chosen.kind === PROCESS)
		return `${textOf(chosen)} is in use.`;
	if (chosen.size < size)
		return `${textOf(chosen)} is too small for it: it has ${bytes(chosen.size)}.`;
	if (!heap.fits(chosen, size, alignment))
		return `${textOf(chosen)} has no room for it at an aligned place.`;
	return {
		first_fit: `${textOf(chosen)} is large enough, but first fit takes the lowest.`,
		next_fit: `${textOf(chosen)} is large enough, but next fit goes on from ${heap.rover}, where ` +
			'the last block taken ended.',
		best_fit: `${textOf(chosen)} is large enough, but best fit takes the smallest that is.`,
		worst_fit: `${textOf(chosen)} is large enough, but worst fit takes the largest.`,
		quick_fit: `${textOf(chosen)} is large enough, but quick fit takes another.`,
	}[run.options.policy];
}

/* answer: {type}, or {type: 'hole', from, to} for a place: {isRight, why, effect}. why: what speaks
 * against a wrong one; what is right is told with the call. */
function judge(run, number, answer) {
	const {effect} = tell(run, number);
	const [before] = run.around(number);
	const call = run.calls.get(number);
	let why = '';
	const isRight = answer.type === 'hole' ? effect.type === 'hole' &&
		answer.from <= effect.end && answer.to >= effect.start && isOnePlace(before, answer, effect) :
		answer.type === effect.type;
	if (!isRight && answer.type === 'hole')
		why = call.kind === 'r' && effect.type !== 'hole' && effect.type !== 'node' ?
			'It does not move.' : wrongPlace(run, before, call, answer.from, answer.to);
	else if (!isRight)
		why = wrongChoice(answer.type, effect.type);
	return {isRight, why, effect};
}

/* Why another answer than a place is wrong. */
function wrongChoice(type, right) {
	if (type === 'node')
		return right === 'fail' ? 'A new main node would go beyond the limit.' :
			'A new main node is mapped only where nothing else does.';
	if (type === 'fail')
		return 'There is memory for it.';
	if (['shrink', 'same', 'grow'].includes(type))
		return 'That is not what it does.';
	return {none: 'No neighbour in its main node is a HOLE.', quick: 'Quick fit remembers it.',
		left: 'Only on its left lies a HOLE of the same main node.',
		right: 'Only on its right lies a HOLE of the same main node.',
		both: 'On both sides lies a HOLE of the same main node.'}[right];
}

/* A mark may stand for several segments: then it is right if it holds the place. */
function isOnePlace(heap, answer, effect) {
	const chosen = segmentAt(heap, answer.from);
	return answer.to > endOf(chosen) || chosen.kind !== PROCESS;
}

/* ---- Traces ---------------------------------------------------------------------------------- */

const TRACE_OPTIONS = {alignment: 'alignment', 'page-size': 'page', start: 'start', limit: 'limit'};

/* Reads an "o NAME VALUE" line into the options. */
function optionRead(options, [, name, value]) {
	if (name === 'policy') {
		const policy = value.replace('-', '_');
		if (!POLICIES.includes(policy))
			throw new Error(`no such policy: ${value}`);
		options.policy = policy;
	} else if (TRACE_OPTIONS[name] && /^\d+$/.test(value)) {
		options[TRACE_OPTIONS[name]] = Number(value);
	} else {
		throw new Error(`no such option: ${name} ${value}`);
	}
}

/* A label as it was before spaces and other signs became "%" and two digits. */
function labelRead(word) {
	try {
		return decodeURIComponent(word);
	} catch {
		return word;
	}
}

/* A line of a trace in words, as a call; ids: the numbers of blocks that are live, by id. */
function callRead(calls, ids, words, names) {
	const [kind, id, size, alignment] = words;
	const isNew = 'acm'.includes(kind);
	const wanted = {a: 2, c: 2, r: 2, m: 3, f: 1}[kind];
	if (kind.length !== 1 || wanted === undefined)
		throw new Error(`no such call: ${kind}`);
	const numbers = words.slice(1, 1 + wanted);
	const label = isNew && words[1 + wanted] !== undefined ? labelRead(words[1 + wanted]) : undefined;
	if (numbers.length < wanted || numbers.some(number => !/^\d+$/.test(number)))
		throw new Error('a number is missing');
	if (isNew === ids.has(id))
		throw new Error(`block ${id} is ${isNew ? 'live already' : 'not live'}`);
	if (isNew) {
		ids.set(id, calls.blocks);
		names[calls.blocks] = id;
	}
	calls.add(kind, ids.get(id), kind === 'f' ? 0 : Math.max(1, Number(size)),
		kind === 'm' ? Number(alignment) : 0, label);
	if (kind === 'f')
		ids.delete(id);
}

/* Reads a trace: {options, calls, names, title, text, from, notes}. from: the call before the first
 * that is asked for; notes: texts by the number of the call that they stand before. */
function traceRead(text) {
	const trace = {options: {}, calls: new Calls(), names: [], title: '', text: [], from: 0,
		notes: new Map(), mistakes: []};
	const ids = new Map();
	text.split('\n').forEach((line, i) => {
		const words = line.trim().split(/\s+/);
		const {calls} = trace;
		try {
			if (words[0].startsWith('#'))
				noteRead(trace, line.trim().slice(1).trim());
			else if (words[0] === 'g')
				calls.add('g', -1, 0, 0);
			else if (words[0] === 'e')
				trace.mistakes.push([calls.count, words[1], words[2]]);
			else if (words[0] === 'o')
				optionRead(trace.options, words);
			else if (words[0] && !/^\d+$/.test(words[0]) && words[0] !== 'p')
				callRead(calls, ids, words, trace.names);
		} catch (error) {
			throw new Error(`line ${i + 1}: ${error.message}`);
		}
	});
	return trace;
}

function noteRead(trace, note) {
	const {count} = trace.calls;
	if (note === 'predict')
		trace.from = count;
	else if (!trace.title)
		trace.title = note;
	else if (count === 0)
		trace.text.push(note);
	else
		trace.notes.set(count + 1, [...(trace.notes.get(count + 1) || []), note]);
}

/* The same way back. Calls that failed are left out, so that any heap can make them; of those that
 * made quick fit merge what it remembers, that is left: "g". */
function traceWrite(run, options) {
	const lines = [];
	const defaults = {policy: 'first_fit', alignment: 8, page: 4096, start: 1000, limit: 0};
	const names = {...Object.fromEntries(Object.entries(TRACE_OPTIONS).map(([a, b]) => [b, a])),
		policy: 'policy'};
	for (const [key, name] of Object.entries(names))
		if (options[key] !== defaults[key])
			lines.push(`o ${name} ${options[key]}`);
	for (let number = 1; number <= run.calls.count; number++) {
		const {kind, block, size, alignment, label} = run.calls.get(number);
		if (run.result[number] !== 0)
			lines.push([kind, block, ...(kind === 'f' ? [] : [size]),
				...(kind === 'm' ? [alignment] : []),
				...(label === undefined ? [] : [encodeURIComponent(label)])].join(' '));
		else if (run.trims.has(number))
			lines.push('g');
	}
	return lines.map(line => `${line}\n`).join('');
}

if (typeof module !== 'undefined') {
	Object.assign(globalThis, require('./engine.js'), require('./history.js'),
		require('./words.js'), require('./story.js'));
	module.exports = {question, judge, canAsk, traceRead, traceWrite};
}
