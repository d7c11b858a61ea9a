/*
 * node stories.js [SEED]: what the page says of a call (story.js), which answers it takes for right
 * (predict.js), and what is played on it (play.js), on random calls under all policies. Each claim
 * is held against the chains before and after the call, which are read from their text here, and
 * against the rules of the policies, which are written down here once more. Then the exercises are
 * gone through. Exit 1 where a test failed.
 */
'use strict';

const assert = require('assert');
const fs = require('fs');
const path = require('path');

const page = name => require(`../../../sample/replay/page/${name}.js`);
const {Heap, PROCESS, HOLE, QUICK} = page('engine');
const {Calls, Run} = page('history');
page('words');
const {tell} = page('story');
const {question, judge, canAsk, traceRead, traceWrite} = page('predict');
const {Player} = page('play');
const {plan, line} = require('./random.js');

const HEAPS = 8, CALLS = 160;
const nameOf = block => String(block);
const text = s => `${s.kind === PROCESS ? 'PROCESS' : 'HOLE'}[${s.start}:${s.end}]`;

/* The segments of a heap as they are, each with its main node. */
function segmentsOf(heap) {
	return [...heap.walk()].map(({kind, start, size, block, node}) =>
		({kind, start, size, block, end: start + size - 1, node: node.index}));
}

/* ---- The rules, once more -------------------------------------------------------------------- */

const gapOf = (hole, options, alignment) => {
	let gap = 0;
	while ((hole.start + gap - options.start) % alignment !== 0)
		gap++;
	return gap;
};

/* The HOLE that a policy takes, and those that it looks at, in its order. */
function rule(segments, options, rover, size, alignment) {
	const holes = segments.filter(s => s.kind === HOLE);
	const fitting = hole => hole.size >= size + gapOf(hole, options, alignment);
	const order = options.policy !== 'next_fit' ? holes :
		[...holes.filter(h => h.start >= rover), ...holes.filter(h => h.start < rover)];
	const sorted = [...order.filter(fitting)];
	if (options.policy === 'best_fit')
		sorted.sort((a, b) => a.size - b.size || a.start - b.start);
	if (options.policy === 'worst_fit')
		sorted.sort((a, b) => b.size - a.size || a.start - b.start);
	const taken = sorted[0] || null;
	const isWhole = ['best_fit', 'worst_fit'].includes(options.policy);
	return {taken, looked: isWhole || !taken ? order : order.slice(0, order.indexOf(taken) + 1)};
}

/* ---- Claims ---------------------------------------------------------------------------------- */

/* Is what the search says true? */
function checkSearch(told, expected, size, options) {
	const {search} = told;
	assert.strictEqual(search.count, expected.looked.length, 'how many HOLEs were looked at');
	assert.strictEqual(search.taken && search.taken.start, expected.taken && expected.taken.start);
	assert.strictEqual(search.looks.length + search.left, search.count, 'those that are left out');
	for (const look of search.looks) {
		const hole = expected.looked[look.order - 1];
		const room = hole.size - gapOf(hole, options, search.alignment);
		assert.deepStrictEqual([look.start, look.size], [hole.start, hole.size], 'the order of looks');
		const says = words => assert.ok(look.verdict.startsWith(words), `${look.verdict}: ${words}`);
		if (expected.taken && hole.start === expected.taken.start)
			says('taken');
		else if (hole.size < size)
			says('too small');
		else if (room < size)
			says('no room');
		else if (options.policy === 'best_fit')
			says(hole.size > expected.taken.size ? 'fits, but is larger' : 'fits as well');
		else
			says(hole.size < expected.taken.size ? 'fits, but is smaller' : 'fits as well');
	}
	if (!expected.taken && expected.looked.length > 1)
		assert.ok(told.lines.join(' ').includes(
			`the largest has ${Math.max(...expected.looked.map(h => h.size))
				.toLocaleString('en-US')} bytes`), told.lines.join(' '));
}

/* The reason why a new main node is as large as it is. */
function checkGrowth(lines, before, length, {call, size}, {page}) {
	const pages = length / page, needed = Math.ceil(size / page);
	const mapped = before.reduce((sum, s) => sum + s.size, 0) / page;
	const half = call.kind === 'r' ? needed + Math.floor(needed / 2) : needed;
	assert.ok(lines.includes(pages === needed ? 'what the block needs' :
		pages === Math.floor(mapped / 8) ? `an eighth of the ${mapped} mapped so far` :
			pages === half ? 'half as many again' : 'the least that quick fit asks for'), lines);
	assert.ok(pages === needed || pages === Math.floor(mapped / 8) || pages === half || pages === 16);
}

/* An allocation, or the taking of a new place: what happened to the HOLE there? */
function checkPlace(told, before, after, options, context) {
	const {call, address, size, rover} = context;
	const segment = before.find(s => s.start <= address && address <= s.end);
	const lines = told.lines.join(' ');
	const expected = rule(before, options, rover, size, call.kind === 'm' ? call.alignment : 1);
	if (told.search)
		checkSearch(told, expected, size, options);
	if (!segment) {
		const node = after.find(s => s.start === address).node;
		const last = after.filter(s => s.node === node).pop().end;
		assert.strictEqual(told.effect.type, 'node');
		assert.ok(lines.includes(`[${address}:${last}]`), lines);
		assert.ok(told.badges.includes('new main node'));
		assert.strictEqual(expected.taken, null, 'no HOLE was large enough');
		checkGrowth(lines, before, last - address + 1, context, options);
		return;
	}
	assert.strictEqual(told.effect.type, 'hole');
	assert.ok(told.effect.start <= address && told.effect.end >= address + size - 1);
	if (segment.kind === HOLE && told.search && expected.taken) {
		assert.strictEqual(expected.taken.start, segment.start, 'the HOLE of the rule');
		assert.ok(lines.includes(text(segment)), lines);
	}
	if (segment.kind === QUICK && told.search === null)
		assert.deepStrictEqual(told.badges.filter(b => b !== 'moved' && b !== 'merge' &&
			b !== 'remembered'), ['from the quick list']);
	const rest = after.find(s => s.start === address + size);
	if (told.badges.includes('split') && rest && rest.kind === HOLE && rest.end <= told.effect.end)
		assert.ok(lines.includes(`${text(rest)} is left over`), lines);
}

/* A free, in a heap where the block still was: before. */
function checkFree(told, before, after, block, options) {
	const at = before.findIndex(s => s.block === block && s.kind === PROCESS);
	const old = before[at];
	const inNode = s => s && s.node === old.node ? s : null;
	const left = inNode(before[at - 1]), right = inNode(before[at + 1]);
	const lines = told.lines.join(' ');
	if (options.policy === 'quick_fit' && old.size <= 65536) {
		assert.strictEqual(told.effect.type, 'quick');
		return;
	}
	const isLeft = left !== null && left.kind === HOLE, isRight = right !== null &&
		right.kind === HOLE;
	assert.strictEqual(told.effect.type, isLeft ? isRight ? 'both' : 'left' : isRight ? 'right' :
		'none');
	for (const [side, name, is] of [[left, 'left', isLeft], [right, 'right', isRight]])
		assert.ok(lines.includes(side === null ? `On its ${name} its main node` :
			`On its ${name} lies ${text(side)}${is ? ': they merge' : ','}`), lines);
	const now = after.find(s => s.start <= old.start && old.end <= s.end);
	if (isLeft || isRight)
		assert.ok(lines.includes(`Together they are ${text(now)}`), lines);
	assert.deepStrictEqual([now.start, now.end], [isLeft ? left.start : old.start,
		isRight ? right.end : old.end]);
}

function checkRealloc(told, before, after, context, options) {
	const {call, address, size} = context;
	const at = before.findIndex(s => s.block === call.block && s.kind === PROCESS);
	const old = before[at], right = before[at + 1];
	const room = right && right.node === old.node && right.kind === HOLE ? right.size : 0;
	const lines = told.lines.join(' ');
	if (size <= old.size || old.size + room >= size) {
		assert.strictEqual(told.effect.type, size < old.size ? 'shrink' : size > old.size ? 'grow' :
			'same');
		assert.strictEqual(address, old.start);
		return;
	}
	assert.ok(told.badges.includes('moved') &&
		lines.includes(`the block moves from ${old.start} to ${address}`), lines);
	assert.strictEqual(lines.includes('has too little room'), room > 0, lines);
	checkPlace(told, before, after, options, context);
	const now = after.find(s => s.start <= old.start && old.start <= s.end);
	if (now.start !== old.start || now.end !== old.end)
		assert.ok(now.kind === QUICK || lines.includes(`Together they are ${text(now)}`), lines);
}

/* The strips show what was there and what is there, whole segments without gaps. */
function checkStrips(told, before, after) {
	for (const strip of told.strips) {
		for (const [shown, all] of [[strip.before, before], [strip.after, after]]) {
			shown.forEach((s, i) => {
				assert.ok(all.some(o => o.start === s.start && o.end === s.end && o.kind === s.kind),
					`${text(s)} is there`);
				assert.ok(i === 0 || shown[i - 1].end + 1 === s.start, 'no gap');
			});
		}
	}
}

/* Of all answers that can be given, the right ones are those of the rules. */
function checkAnswers(run, number, told, before) {
	const {choices, isPlace} = question(run, number, nameOf);
	const {type, start, end} = told.effect;
	let right = 0;
	for (const choice of choices) {
		const {isRight, why} = judge(run, number, choice);
		assert.strictEqual(isRight, choice.type === type, choice.type);
		assert.strictEqual(why === '', isRight, `a reason for ${choice.type}: ${why}`);
		right += isRight;
	}
	for (const s of isPlace ? before : []) {
		const {isRight, why} = judge(run, number, {type: 'hole', from: s.start, to: s.end});
		assert.strictEqual(isRight, type === 'hole' && s.start <= end && s.end >= start &&
			s.kind !== PROCESS, text(s));
		assert.strictEqual(why === '', isRight, `a reason for ${text(s)}: ${why}`);
		right += isRight;
	}
	assert.ok(type === 'hole' && told.search !== null ? right >= 1 : right === 1,
		`${right} answers are right: ${type}`);
}

function checkCall(run, number, options) {
	const call = run.calls.get(number);
	const [beforeHeap, afterHeap] = run.around(number);
	const before = segmentsOf(beforeHeap), after = segmentsOf(afterHeap);
	const context = {call, address: run.result[number], size: beforeHeap.round(call.size),
		rover: beforeHeap.rover};
	const wasLive = Boolean(beforeHeap.blocks[call.block]);
	const told = tell(run, number);
	checkStrips(told, before, after);
	assert.deepStrictEqual(segmentsOf(run.around(number)[0]), before, 'telling changes nothing');
	assert.deepStrictEqual(segmentsOf(run.around(number)[1]), after, 'telling changes nothing');
	if ((call.kind === 'r' || call.kind === 'f') && !wasLive)
		assert.ok(!canAsk(run, number) && told.effect.type === 'nothing');
	else if (context.address === 0)
		assert.ok(told.effect.type === 'fail' || call.alignment > options.page);
	else if (call.kind === 'f')
		checkFree(told, before, after, call.block, options);
	else if (call.kind === 'r')
		checkRealloc(told, before, after, context, options);
	else
		checkPlace(told, before, after, options, context);
	if (told.search && options.policy !== 'quick_fit')
		assert.strictEqual(told.search.count, afterHeap.looked, 'as the heap has counted');
	if (told.effect.type !== 'nothing')
		checkAnswers(run, number, told, before);
	return told.effect.type;
}

function callsOf(list) {
	const calls = new Calls();
	for (const {kind, block, size, alignment} of list)
		calls.add(kind, block, size, alignment);
	return calls;
}

function testStories(seed) {
	const seen = {};
	for (const {options, calls} of plan(seed, HEAPS, CALLS)) {
		const run = new Run(callsOf(calls), options);
		for (let number = 1; number <= run.calls.count; number++) {
			try {
				const type = checkCall(run, number, options);
				seen[type] = (seen[type] || 0) + 1;
			} catch (error) {
				error.message += `\n${JSON.stringify(options)}, call ${number}: ` +
					`${calls.slice(0, number).map(line).join('; ')}\n${tell(run, number).lines.join('\n')}`;
				throw error;
			}
		}
	}
	console.log(JSON.stringify(seen));
	for (const type of ['hole', 'node', 'fail', 'none', 'left', 'right', 'both', 'quick', 'shrink',
		'grow', 'same'])
		assert.ok(seen[type] > 5, `${type} was seen`);
}

/* A block that quick fit does not remember, beside one that it does. */
function testBesideRemembered() {
	const calls = [['a', 100], ['a', 70000], ['a', 100], ['f', 0], ['f', 2], ['f', 1]].map(
		([kind, n], i) => ({kind, block: kind === 'a' ? i : n, size: kind === 'a' ? n : 0}));
	const run = new Run(callsOf(calls), {policy: 'quick_fit', page: 16384});
	const lines = tell(run, 6).lines.join(' ');
	assert.match(lines, /On its left lies HOLE\[1000:1103\], which quick fit remembers: no merge yet/);
	assert.match(lines, /On its right lies HOLE\[71104:71207\], which quick fit remembers/);
}

/* ---- Going to and fro ------------------------------------------------------------------------ */

/* A run is in the same state after a call, whatever way led there. */
function testSeeking(seed) {
	for (const {options, calls} of plan(seed, 2, 700)) {
		const run = new Run(callsOf(calls), options);
		const heap = new Heap(options);
		const texts = [heap.text(), ...calls.map(call => (heap.call(call), heap.text()))];
		for (let i = 0, at = 0; i < 200; i++, at = (at * 31 + i * 7 + 1) % texts.length)
			assert.strictEqual(run.at(at).text(), texts[at], `after call ${at}`);
		for (let at = texts.length - 1; at >= 0; at -= 3)
			assert.strictEqual(run.at(at).text(), texts[at], `after call ${at}`);
		run.cut(300);
		run.calls.cut(300);
		assert.strictEqual(run.at(300).text(), texts[300], 'after a cut');
		for (const {kind, block, size, alignment} of calls.slice(300))
			run.calls.add(kind, block, size, alignment);
		assert.strictEqual(run.at(700).text(), texts[700], 'made again after a cut');
		assert.deepStrictEqual(run.process.length, 701);
	}
}

/* ---- Playing --------------------------------------------------------------------------------- */

function testPlay() {
	const player = new Player();
	const act = (words, at = player.calls.count) => player.act(player.read(words, at), at);
	const chain = () => player.run.at(player.calls.count).text();
	for (const words of ['malloc 100', '200', 'mems_malloc(300);', 'aligned 64 100', 'calloc 40',
		'mems_calloc(10, 4)', 'a 8'])
		act(words);
	act('free 1');
	act('mems_realloc(0, 50)');
	act('resize #2 304');
	const whole = chain();
	assert.match(whole, /^N P1000-1055 H1056-1303 P1304-1607 /);
	assert.strictEqual(player.undo(), 9);
	act('free 2', 8);
	assert.strictEqual(player.undo(), 8);
	assert.strictEqual(player.redo(), 9);
	assert.strictEqual(player.undo(), 8);
	for (const [words, why] of [['jump 3', /none of the calls/], ['free 1', /no block 1/],
		['malloc', /The form is: malloc SIZE/], ['malloc 0', /A size is/], ['malloc -1', /A size/],
		['aligned 3 8', /power of two/], ['aligned 0.5 8', /power of two/],
		['aligned 9007199254740991 8', /power of two/], ['constructor 8', /none of the calls/],
		['__proto__', /none of the calls/], ['', /none of the calls/], ['free', /The form is/],
		['realloc 0 x', /A size is/]])
		assert.throws(() => act(words), {message: why}, words);
	assert.strictEqual(player.calls.count, 9, 'what is wrong changes nothing');
	while (player.undo() >= 0);
	assert.strictEqual(chain(), '');
	while (player.redo() >= 0);
	player.set({policy: 'best_fit', alignment: 16});
	assert.match(chain(), /^N P1000-1111 H1112-/);
}

function testContents() {
	const player = new Player();
	const act = words => player.act(player.read(words, player.calls.count), player.calls.count);
	const contents = () => player.contents(0, player.calls.count)
		.map(b => b === null ? '.' : String.fromCharCode(b)).join('');
	act('malloc 8');
	assert.strictEqual(contents(), '........');
	act('write 0 hello');
	assert.strictEqual(contents(), 'hello...');
	assert.throws(() => act('write 0 far too long for it'), /room for 8 bytes/);
	act('malloc 8');
	act('realloc 0 12');
	assert.match(contents(), /^hello/);
	assert.strictEqual(contents().length, 12, 'contents move with the block');
	act('realloc 0 2');
	act('realloc 0 4');
	assert.strictEqual(contents(), 'he..', 'what was cut off is gone');
	player.undo();
	assert.strictEqual(contents(), 'he');
	player.act(player.read('c 4', 5), 5);
	assert.deepStrictEqual(player.contents(2, 6), [0, 0, 0, 0], 'calloc gives zeros');
}

/* What is played can be saved, and read again: the same calls, but those that failed. */
function testTraces(seed) {
	for (const {options, calls} of plan(seed, 3, 100)) {
		const run = new Run(callsOf(calls), options);
		run.advance(Infinity);
		const trace = traceRead(traceWrite(run, options));
		const again = new Run(trace.calls, {policy: 'first_fit', alignment: 8, page: 4096, start: 1000,
			limit: 0, ...trace.options});
		assert.strictEqual(again.at(again.calls.count).text(), run.at(100).text());
	}
	for (const [bad, why] of [['x 1 2', /line 1: no such call/], ['a 1', /a number is missing/],
		['f 1', /not live/], ['a 1 2\na 1 2', /line 2: .*live already/], ['o policy odd', /policy/],
		['o size 3', /no such option/]])
		assert.throws(() => traceRead(bad), {message: why}, bad);
}

/* ---- The exercises --------------------------------------------------------------------------- */

const DECK = path.join(__dirname, '../../../sample/exercises');

/* Ten exercises with enough to ask, of every kind; the answers are known to be right from above. */
function testExercises() {
	const files = fs.readdirSync(DECK).filter(name => name.endsWith('.trace')).sort();
	const seen = new Set(), policies = new Set();
	assert.strictEqual(files.length, 10);
	for (const name of files) {
		const source = fs.readFileSync(path.join(DECK, name), 'utf8');
		const trace = traceRead(source);
		const options = {policy: 'first_fit', alignment: 8, page: 4096, start: 1000, limit: 0,
			...trace.options};
		const run = new Run(trace.calls, options);
		assert.ok(trace.title && trace.text.length > 0 && !/[<&]/.test(source), name);
		assert.ok(trace.calls.count - trace.from >= 5, `${name}: enough questions`);
		policies.add(options.policy);
		for (let number = 1; number <= trace.calls.count; number++) {
			const type = checkCall(run, number, options);
			if (number > trace.from)
				seen.add(type);
			assert.ok(number <= trace.from || canAsk(run, number), `${name}: call ${number}`);
		}
	}
	for (const type of ['hole', 'node', 'fail', 'none', 'left', 'right', 'both', 'quick', 'shrink',
		'grow', 'same'])
		assert.ok(seen.has(type), `${type} is asked for`);
	assert.strictEqual(policies.size, 5, 'every policy');
}

let failures = 0;

function test(name, body) {
	console.log(`[ RUN      ] ${name}`);
	try {
		body();
		console.log(`[       OK ] ${name}`);
	} catch (error) {
		console.log(`${error.message}\n${error.stack}`);
		console.log(`[  FAILED  ] ${name}`);
		failures++;
	}
}

const seed = Number(process.argv[2]) || Date.now() % 1e9;
console.log(`seed ${seed}`);
test('what is said of a call is true', () => testStories(seed));
test('beside what quick fit remembers', testBesideRemembered);
test('the states of a run, to and fro', () => testSeeking(seed));
test('playing', testPlay);
test('what was written', testContents);
test('saving as a trace', () => testTraces(seed));
test('the exercises', testExercises);
process.exit(failures === 0 ? 0 : 1);
