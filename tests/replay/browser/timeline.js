/*
 * node timeline.js REPLAY FOLDER TRACE...: what the page knows and draws, after every call, against
 * what mems_walk said; and how long that takes. Calls suite. Exit 1 where a test failed.
 */
'use strict';

const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {execFileSync} = require('child_process');
const {Suite, SMALL, replay, folder, traces, pageOf, traceOf, run} = require('./suite.js');

const DRAWN = 40;         /* states of a trace that are drawn, too, forwards and backwards */
const OPEN_MS = 3000;     /* in which a page must be open */
const PAGE_BYTES = 10e6;  /* the most that a page may have */
const STEP_MS = 100, JUMP_MS = 400, SEGMENTS = 57000; /* twice the aim: processors differ */

let suite;

/* Compares all that the page knows of a state with the walk. */
function compare(seen, walk) {
	for (const key of ['call', 'segments', 'sum', 'nodes', 'process', 'hole', 'mapped', 'largest'])
		assert.strictEqual(seen[key], walk[key], `${key} after call ${walk.call}`);
	if (walk.text && seen.text)
		assert.strictEqual(seen.text, walk.text);
}

/* The segments that are drawn, in the words of the walk; sums of several are left out. */
const DRAWN_TEXT = `[...document.querySelectorAll('#map .row')].map(row => 'N ' +
	[...row.querySelectorAll('.seg')].map(b => ({process: 'P', hole: 'H', mixed: 'M'})[
	b.dataset.look] + b.dataset.start + '-' + b.dataset.end + (b.dataset.remembered === '0' ? '' :
	'+' + b.dataset.remembered)).join(' ')).join(' ')`;

async function compareStates(trace, ...options) {
	const {html, walks} = pageOf(trace, ...options);
	const milliseconds = await suite.open(html);
	assert.ok(fs.statSync(html).size <= PAGE_BYTES, 'the size of the page');
	assert.ok(milliseconds <= OPEN_MS, `open within ${OPEN_MS} ms, not ${milliseconds}`);
	const calls = walks[walks.length - 1].call;
	assert.strictEqual(await suite.get('timeline.calls'), calls);
	await suite.until('!timeline.isWorking');
	for (const walk of walks)
		compare(await suite.get(`timeline.view(${walk.call})`), walk);
	const stride = Math.ceil(walks.length / DRAWN);
	const chosen = walks.filter((_, k) => k % stride === 0 || k === walks.length - 1);
	for (const walk of [...chosen, ...chosen.reverse()]) {
		const [seen, drawn] = await suite.get(
			`(timeline.go(${walk.call}), [timeline.view(${walk.call}), ${DRAWN_TEXT}])`);
		compare(seen, walk);
		if (walk.text && !drawn.includes('M') && walk.nodes <= 12)
			assert.strictEqual(drawn, walk.text, `drawn after call ${walk.call}`);
	}
}

async function testOptions() {
	for (const options of [['--alignment', '1'], ['--alignment', '64', '--start', '4294'],
		['--page-size', '65536'], ['--policy', 'quick_fit']])
		await compareStates(traceOf(SMALL), ...options);
}

/* The exercises: the heap of the page gives the answers that mems-replay prints. Where the limit
 * leaves no room, the recording goes on, too. */
async function testExercises() {
	const exercises = fs.readdirSync('sample/exercises').sort().map(name =>
		path.join('sample/exercises', name));
	for (const [i, exercise] of exercises.entries()) {
		const {html, walks} = pageOf(exercise);
		await suite.open(html, `show=${i + 2}`);
		for (const {call, text} of walks)
			assert.strictEqual(await suite.get(`timeline.view(${call}).text`),
				text.replace(/\+\d+/g, ''), `${exercise} after call ${call}`);
		await compareStates(exercise);
	}
	assert.strictEqual(exercises.length, 10);
}

/* What a limit refuses, and calls about blocks that could not be had. */
async function testRefused() {
	const text = 'o limit 8192\no alignment 64\no start 1\na 0 4000\na 1 9000\na 2 100\nf 1\n' +
		'a 1 20\nr 2 70000\nf 2\nm 3 9000 64\nr 3 10\nr 0 4000\nf 0\n';
	for (const policy of ['first_fit', 'best_fit', 'quick_fit']) {
		await compareStates(traceOf(text), '--policy', policy);
		for (const [call, isTold] of [[2, true], [4, false], [6, true], [8, true], [9, false]]) {
			await suite.get(`timeline.go(${call})`);
			assert.match(await suite.text('#call'), /→ NULL|^mems_free\S+ \S+$/, `call ${call}`);
			assert.match(await suite.text('#why'), isTold ? /beyond the limit of 8,192 bytes/ :
				/the block could not be had/);
		}
	}
}

/* A heap with so many segments that lie side by side, and calls that change it. */
function largeTrace() {
	const lines = [];
	for (let i = 0; i < SEGMENTS; i++)
		lines.push(`a ${i} ${8 + i * 37 % 300}`);
	for (let i = 0; i < SEGMENTS; i += 3)
		lines.push(`f ${i}`);
	for (let i = 0; i < 3000; i++)
		lines.push(`a ${SEGMENTS + i} ${8 + i * 53 % 200}`, `f ${1 + 3 * i}`);
	return traceOf(`${lines.join('\n')}\n`);
}

/* Waits until what was changed is on the screen. */
const frame = () => suite.get('new Promise(done => requestAnimationFrame(() => setTimeout(done)))');

async function busyTime() {
	const {metrics} = await suite.browser.send('Performance.getMetrics');
	return metrics.find(({name}) => name === 'TaskDuration').value * 1000;
}

/* How long the page is busy with showing each of these calls, in milliseconds of its thread. */
async function times(calls) {
	const found = [];
	for (const call of calls) {
		await frame();
		const began = await busyTime();
		await suite.get(`timeline.go(${call})`);
		await frame();
		found.push(await busyTime() - began);
	}
	return found;
}

const median = list => [...list].sort((a, b) => a - b)[list.length >> 1];

async function testSpeed(hash) {
	await suite.open(pageOf(largeTrace()).html, hash);
	await suite.until('!timeline.isWorking');
	await suite.browser.send('Performance.enable', {timeDomain: 'threadTicks'});
	assert.ok(await suite.get(`timeline.view(${SEGMENTS}).segments`) >= SEGMENTS);
	await suite.get(`timeline.go(${SEGMENTS + 5000})`); /* the first step and jump count as well */
	const calls = await suite.get('timeline.calls');
	const some = count => Array.from({length: count}, (_, i) => i);
	const least = {step: Infinity, back: Infinity, jump: Infinity};
	const isFast = () => least.step < STEP_MS && least.back < STEP_MS && least.jump < JUMP_MS;
	const note = (name, list) => (least[name] = Math.min(least[name], median(list)));
	/* On a machine that is busy with something else a try may be slow: a slow page is so each time. */
	for (let tries = 0; tries < 4 && !isFast(); tries++) {
		note('step', await times(some(21).map(i => SEGMENTS + 5000 + i)));
		note('back', await times(some(20).map(i => SEGMENTS + 5020 - i)));
		note('jump', await times(some(15).map(i => i * 7919 % calls)));
	}
	const found = `a step ${least.step.toFixed(0)} ms, back ${least.back.toFixed(0)}, ` +
		`a jump ${least.jump.toFixed(0)}`;
	console.log(`note: ${SEGMENTS} segments: ${found}`);
	assert.ok(isFast(), found);
}

/* A trace that does not fit in the page: its first calls are there. */
async function testTooLong() {
	const lines = [];
	for (let i = 0; i < 1300000; i++)
		lines.push(`a ${i % 1000 * 1e15} ${i % 2 ? 100000 : 70000}`, `f ${i % 1000 * 1e15}`);
	const html = path.join(folder, 'long.html');
	execFileSync(replay, ['--html', html, traceOf(lines.join('\n'))], {stdio: 'ignore'});
	assert.ok(fs.statSync(html).size <= PAGE_BYTES, 'the size of the page');
	await suite.open(html);
	assert.match(await suite.text('#shortened'), /has the first [\d,]+ of its 2,600,000 calls/);
}

async function testFileName() {
	const file = path.join(folder, 'a<b>&"\'.rep');
	fs.writeFileSync(file, 'a 7 10\n');
	await compareStates(file);
	assert.match(await suite.text('#title'), /a<b>&"'\.rep/);
}

run(async () => {
	suite = await Suite.start(1280, 1000);
	await suite.test('every state of a small trace', () => compareStates(traceOf(SMALL)));
	await suite.test('under every option', testOptions);
	await suite.test('an empty trace', () => compareStates(traceOf('')));
	await suite.test('one block', () => compareStates(traceOf('a 18446744073709551615 1\n')));
	await suite.test('a file name with signs', testFileName);
	await suite.test('the exercises', testExercises);
	await suite.test('what a limit refuses', testRefused);
	for (const trace of traces)
		await suite.test(`the states of ${path.basename(trace)}`, () => compareStates(trace));
	await suite.test('speed', () => testSpeed(''));
	await suite.test('speed, comparing four policies',
		() => testSpeed('mode=compare&policies=first_fit,next_fit,best_fit,worst_fit'));
	await suite.test('speed, comparing quick fit, too',
		() => testSpeed('mode=compare&policies=next_fit,best_fit,worst_fit,quick_fit'));
	await suite.test('a very long trace', testTooLong);
	await suite.end();
});
