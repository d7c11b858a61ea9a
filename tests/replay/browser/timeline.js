/*
 * node timeline.js REPLAY FOLDER TRACE...: tests the page that "mems-replay --html" writes, in a
 * headless Chromium. Each TRACE is checked against what mems_walk said at each step; what a user
 * can do is tried on a small trace of its own. Files go to FOLDER. Exit 1 where a test failed.
 */
'use strict';

const assert = require('assert');
const {execFileSync} = require('child_process');
const fs = require('fs');
const path = require('path');
const zlib = require('zlib');
const {Browser} = require('./browser.js');

const [replay, folder, ...traces] = process.argv.slice(2);
const DRAWN_STEPS = 50;   /* of a trace that are drawn, too, forwards and backwards */
const OPEN_MS = 3000;     /* in which a page must be open */
const PAGE_BYTES = 10e6;  /* the most that a page may have */

/* A split, a merge on each side and on both, a new node, a move, growing and shrinking in place. */
const SMALL = `a 0 1000\na 1 1000\na 2 1000\na 3 1000\na 4 1000\na 5 500\nf 1\na 6 400\nc 7 300
f 3\nf 2\nm 8 100 64\nr 4 1500\na 9 1200\nf 0\nr 5 200\na 10 6000\nf 6\nf 7\na 11 700\nr 11 690
r 11 800\nf 11\nf 8\n`;

let browser;
let failures = 0;

async function test(name, body) {
	console.log(`[ RUN      ] ${name}`);
	try {
		await body();
		assert.deepStrictEqual(browser.errors, [], 'no error in the console');
		assert.deepStrictEqual(browser.requests.filter(u => !/^(file|data):/.test(u)), [],
			'nothing from the network');
		console.log(`[       OK ] ${name}`);
	} catch (error) {
		console.log(error.stack);
		console.log(`[  FAILED  ] ${name}`);
		failures++;
	}
	browser.errors.length = 0;
}

/* Writes the page of a trace: its file, and what mems_walk said at each of its steps. */
function pageOf(trace, ...options) {
	const html = path.join(folder, 'page.html'), walks = path.join(folder, 'page.walks');
	execFileSync(replay, ['--html', html, '--walks', walks, ...options, trace]);
	const lines = fs.readFileSync(walks, 'utf8').trim().split('\n').map(l => JSON.parse(l));
	return {html, walks: lines};
}

/* A trace with these lines. */
function traceOf(text) {
	const file = path.join(folder, 'trace.rep');
	fs.writeFileSync(file, text);
	return file;
}

const textOf = selector => browser.get(`document.querySelector('${selector}').textContent`);
const step = async () => Number(await browser.get('document.getElementById("slider").value'));

/* Compares all that the page knows of a step with the walk. */
function compare(seen, walk) {
	for (const key of ['call', 'segments', 'sum', 'nodes', 'process', 'hole', 'mapped', 'largest'])
		assert.strictEqual(seen[key], walk[key], `${key} after call ${walk.call}`);
	if (walk.text && seen.text)
		assert.strictEqual(seen.text, walk.text);
}

/* The segments that are drawn, in the words of the walk; sums of several are left out. */
const DRAWN = `[...document.querySelectorAll('#map .row')].map(row => 'N ' +
	[...row.querySelectorAll('.seg')].map(b => ({process: 'P', hole: 'H', mixed: 'M'})[
	b.dataset.look] + b.dataset.start + '-' + b.dataset.end + ' ').join('')).join('')`;

async function compareSteps(trace, ...options) {
	const {html, walks} = pageOf(trace, ...options);
	const milliseconds = await browser.open(html);
	assert.ok(fs.statSync(html).size <= PAGE_BYTES, 'the size of the page');
	assert.ok(milliseconds <= OPEN_MS, `open within ${OPEN_MS} ms, not ${milliseconds}`);
	assert.strictEqual(await browser.get('timeline.steps'), walks.length);
	assert.ok(walks.length <= 2000, 'no more than 2,000 steps');
	(await browser.get('timeline.views()')).forEach((seen, k) => compare(seen, walks[k]));
	const stride = Math.ceil(walks.length / DRAWN_STEPS);
	const chosen = walks.map((_, k) => k).filter(k => k % stride === 0 || k === walks.length - 1);
	for (const k of [...chosen, ...chosen.reverse()]) {
		const [seen, drawn] =
			await browser.get(`(timeline.go(${k}), [timeline.view(${k}), ${DRAWN}])`);
		compare(seen, walks[k]);
		if (walks[k].text && !drawn.includes('M') && walks[k].nodes <= 12)
			assert.strictEqual(drawn, walks[k].text, `drawn after call ${walks[k].call}`);
	}
}

/* How many different bytes the pixels of a PNG have: few for a blank picture. */
function pixelValues(png) {
	const parts = [];
	for (let at = 8; at < png.length;) {
		const length = png.readUInt32BE(at);
		if (png.toString('latin1', at + 4, at + 8) === 'IDAT')
			parts.push(png.subarray(at + 8, at + 8 + length));
		at += length + 12;
	}
	return new Set(zlib.inflateSync(Buffer.concat(parts))).size;
}

async function testKeys() {
	await browser.open(pageOf(traceOf(SMALL)).html);
	for (const [key, wanted] of [['ArrowRight', 1], ['ArrowRight', 2], ['ArrowLeft', 1],
		['End', 24], ['ArrowRight', 24], ['ArrowLeft', 23], ['Home', 0], ['ArrowLeft', 0]]) {
		await browser.press(key);
		assert.strictEqual(await step(), wanted, key);
	}
	await browser.get('document.getElementById("slider").focus()');
	await browser.press('ArrowRight');
	assert.strictEqual(await step(), 1, 'the slider');
	await browser.get('document.activeElement.blur()');
	await browser.press(' ');
	assert.strictEqual(await textOf('#play'), 'Pause');
	await browser.press('ArrowRight');
	assert.strictEqual(await textOf('#play'), 'Play', 'a step ends the playing');
}

async function testPlay() {
	await browser.get('document.getElementById("speed").value = "16"');
	await browser.get('timeline.go(0)');
	await browser.click('#play');
	for (let i = 0; i < 100 && await step() < 24; i++)
		await new Promise(resolve => setTimeout(resolve, 50));
	assert.strictEqual(await step(), 24, 'it plays to the end');
	for (let i = 0; i < 100 && await textOf('#play') !== 'Play'; i++)
		await new Promise(resolve => setTimeout(resolve, 50));
	assert.strictEqual(await textOf('#play'), 'Play', 'and stops there');
	const box = await browser.get(`(() => {
		const chart = document.getElementById('chart');
		chart.scrollIntoView();
		const box = chart.getBoundingClientRect();
		return {x: box.x + box.width / 2, y: box.y + 20};
	})()`);
	for (const type of ['mousePressed', 'mouseReleased'])
		await browser.send('Input.dispatchMouseEvent',
			{type, button: 'left', buttons: 1, clickCount: 1, ...box});
	assert.strictEqual(await step(), 12, 'the chart leads to a step');
	assert.strictEqual(await browser.get('document.getElementById("cursor").style.left'), '50%');
}

/* From segment to segment with the keyboard alone. */
async function testSegmentKeys() {
	await browser.get('timeline.go(8)');
	for (let i = 0; i < 12 && !await browser.get('document.activeElement.matches(".seg")'); i++)
		await browser.press('Tab');
	const label = () => browser.get('document.activeElement.getAttribute("aria-label")');
	assert.match(await label(), /^PROCESS\[2000:2399\], 400 bytes, changed$/, 'Tab reaches it');
	await browser.press('ArrowRight');
	assert.match(await label(), /^HOLE\[2400:2999\], 600 bytes, changed$/);
	await browser.press('Home');
	assert.match(await label(), /^PROCESS\[1000:1999\], 1,000 bytes$/);
	await browser.press('ArrowDown');
	assert.match(await label(), /^PROCESS\[5096:6095\]/);
	await browser.press('Enter');
	const info = await textOf('#info');
	for (const part of ['5096–6095', '1,000 bytes', '0x', 'call 5: mems_malloc(1000), block 4'])
		assert.ok(info.includes(part), `${part} in ${info}`);
	assert.strictEqual(await step(), 8, 'the step stays');
	assert.ok((await textOf('#tip')).includes('physical 0x'), 'the tooltip');
}

/* What is told of each kind of step. */
async function testStories() {
	for (const [k, badge, why] of [
		[1, 'new main node', /No HOLE could take 1,000 bytes/],
		[7, 'freed', /PROCESS\[2000:2999\] becomes a HOLE. No neighbour/],
		[8, 'split', /HOLE\[2000:2999\] is split: PROCESS\[2000:2399\] takes 400 bytes/],
		[10, 'merge', /merges with the HOLE on its right into HOLE\[4000:5095\]/],
		[11, 'merge', /merges with the HOLEs on its left and right into HOLE\[2704:5095\]/],
		[12, 'split', /The gap before it stays HOLE/],
		[13, 'moved', /moves from 5096 to \d+/],
		[16, 'shrunk in place', /shrinks to PROCESS/],
		[22, 'grown in place', /grows to PROCESS/],
	]) {
		await browser.get(`timeline.go(${k})`);
		assert.ok((await textOf('#badges')).includes(badge), `${badge} at step ${k}`);
		assert.match(await textOf('#why'), why);
		assert.match(await textOf('#live'), why, 'the live region');
		assert.ok(await browser.get('document.querySelectorAll("#map .changed").length') > 0);
		assert.ok(await browser.get('document.querySelectorAll("#strips .box").length') > 1);
	}
}

async function testPredictRight() {
	await browser.open(pageOf(traceOf(SMALL)).html);
	await browser.click('#predict');
	await browser.click('#next');
	assert.match(await textOf('#question'), /^Where will mems_malloc\(1000\) go\?$/);
	assert.strictEqual(await step(), 0, 'it waits for the answer');
	await browser.click('#new-node');
	assert.match(await textOf('#verdict'), /Right.*No HOLE is large enough.*new main node/);
	assert.strictEqual(await step(), 1);
	await browser.get('timeline.go(7)');
	await browser.click('#next');
	await browser.click('#map .seg[data-start="2000"]');
	assert.match(await textOf('#verdict'), /Right.*HOLE\[2000:2999\] is the lowest HOLE that takes/);
	assert.match(await textOf('#verdict'), /2 of 2 right/);
	assert.strictEqual(await step(), 8);
}

async function testPredictWrong() {
	for (const [k, selector, why] of [
		[7, '#map .seg[data-start="1000"]', /Wrong.*PROCESS\[1000:1999\] is in use/],
		[7, '#map .seg[data-start="6600"]', /Wrong.*large enough, but first fit takes the lowest/],
		[7, '#new-node', /Wrong.*only where no HOLE is large enough/],
		[13, '#map .seg[data-look="hole"]', /Wrong.*is too small for it/],
		[16, '#map .seg[data-look="hole"]', /Wrong.*No HOLE is large enough: the largest has/],
	]) {
		await browser.get(`timeline.go(${k})`);
		await browser.click('#next');
		await browser.click(selector);
		assert.match(await textOf('#verdict'), why);
		assert.strictEqual(await step(), k + 1);
	}
	await browser.get('timeline.go(6)');
	await browser.click('#next');
	assert.strictEqual(await step(), 7, 'no question before a free');
}

async function testPredictKeys() {
	await browser.get('timeline.go(7)');
	await browser.get('document.activeElement.blur()');
	await browser.press('ArrowRight');
	assert.strictEqual(await browser.get('document.activeElement.id'), 'question');
	for (let i = 0; i < 8 && !await browser.get('document.activeElement.matches(".seg")'); i++)
		await browser.press('Tab');
	await browser.press('Home');
	await browser.press('ArrowRight');
	await browser.press('Enter');
	assert.match(await textOf('#verdict'), /Right/);
	await browser.get('timeline.go(7)');
	await browser.press('ArrowRight');
	await browser.click('#list button[data-start="2000"]');
	assert.match(await textOf('#verdict'), /Right/, 'chosen in the list');
	await browser.get('timeline.go(7)');
	await browser.press('ArrowRight');
	await browser.click('#show-me');
	assert.strictEqual(await step(), 8);
}

async function testNames() {
	await browser.open(pageOf(traceOf(SMALL)).html);
	await browser.get('timeline.go(8)');
	await browser.click('#predict');
	await browser.click('#next');
	const names = await browser.names();
	for (const wanted of ['button: First step', 'button: Step back', 'button: Play',
		'button: Step forward', 'button: Last step', 'slider: Step', 'combobox: Speed',
		'checkbox: Predict', 'button: PROCESS[2000:2399], 400 bytes, changed',
		'button: A new main node: no HOLE is large enough', 'button: Show me',
		'heading: The sub-chain around it'])
		assert.ok(names.includes(wanted), `${wanted} in\n${names.join('\n')}`);
	for (const wanted of [/^group: Main node 0, \[1000:5095\], physical 0x[0-9a-f]+, 6 segments$/,
		/^group: Where will mems_calloc\(1, 300\) go\?$/, /^image: Bytes over 24 calls\. At call 8:/,
		/^image: Before: .*HOLE\[2000:2999\]/])
		assert.ok(names.some(n => wanted.test(n)), `${wanted} in\n${names.join('\n')}`);
	const unnamed = await browser.get(`[...document.querySelectorAll('button, input, select')]
		.filter(e => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length))
		.length`);
	assert.strictEqual(unnamed, 0, 'controls without a name');
}

/* More main nodes than are shown at once, and segments too narrow to be seen. */
async function testManyNodes() {
	let lines = '';
	for (let i = 0; i < 30; i++)
		lines += `a ${3 * i} 8\na ${3 * i + 1} 8\na ${3 * i + 2} 16000\n`;
	await browser.open(pageOf(traceOf(lines)).html);
	await browser.get('timeline.go(90)');
	const names = await browser.names();
	for (const wanted of ['slider: Main nodes shown, from', 'checkbox: Follow the change'])
		assert.ok(names.includes(wanted), `${wanted} in\n${names.join('\n')}`);
	const rows = () => browser.get('document.querySelector("#map .row").getAttribute("aria-label")');
	const last = await rows();
	await browser.get('document.getElementById("first-node").focus()');
	await browser.press('Home');
	assert.match(await rows(), /^Main node 0,/, 'the keyboard leads to the first node');
	assert.notStrictEqual(last, await rows());
	assert.strictEqual(await step(), 90, 'the step stays');
	await browser.click('#map .seg[data-look="mixed"]');
	assert.match(await textOf('#info'), /Summed up/);
	assert.ok(await browser.get('document.querySelectorAll("#list button").length') > 1);
	await browser.click('#list button');
	assert.match(await textOf('#info'), /PROCESS\[\d+:\d+\]RangeSize|Physical0x/);
}

async function testPictures() {
	await browser.open(pageOf(traceOf(SMALL)).html);
	await browser.get('timeline.go(14)');
	for (const [name, width, height] of [['desktop', 1280, 1100], ['phone', 390, 1600]]) {
		await browser.resize(width, height);
		const png = await browser.picture();
		fs.writeFileSync(path.join(folder, `${name}.png`), png);
		assert.ok(pixelValues(png) > 64, `${name} is not blank`);
		assert.ok(await browser.get('document.documentElement.scrollWidth <= innerWidth'),
			`${name} is not wider than the screen`);
	}
	await browser.resize(1280, 1000);
}

async function main() {
	browser = await Browser.start(1280, 1000);
	await test('every step of a small trace', () => compareSteps(traceOf(SMALL)));
	await test('under every option', async () => {
		for (const options of [['--alignment', '1'], ['--alignment', '64', '--start', '4294'],
			['--page-size', '65536'], ['--policy', 'quick_fit'].slice(0, quickFit() ? 2 : 0)])
			await compareSteps(traceOf(SMALL), ...options);
	});
	await test('an empty heap', () => compareSteps(traceOf('')));
	await test('one block', () => compareSteps(traceOf('a 18446744073709551615 1\n')));
	await test('a file name with signs', () => {
		const file = path.join(folder, 'a<b>&"\'.rep');
		fs.writeFileSync(file, 'a 7 10\n');
		return compareSteps(file);
	});
	for (const trace of traces)
		await test(`the steps of ${path.basename(trace)}`, () => compareSteps(trace));
	await test('keys', testKeys);
	await test('play, and the chart', testPlay);
	await test('keys in the picture', testSegmentKeys);
	await test('what is told of a step', testStories);
	await test('a right prediction', testPredictRight);
	await test('wrong predictions', testPredictWrong);
	await test('predicting with the keyboard', testPredictKeys);
	await test('the accessibility tree', testNames);
	await test('many main nodes', testManyNodes);
	await test('the look', testPictures);
	if (quickFit())
		await test('no prediction for quick fit', async () => {
			await browser.open(pageOf(traceOf(SMALL), '--policy', 'quick_fit').html);
			assert.ok(!(await browser.names()).includes('checkbox: Predict'));
		});
	await browser.stop();
}

/* Does this library have quick fit? */
function quickFit() {
	try {
		execFileSync(replay, ['--policy', 'quick_fit', traceOf('')], {stdio: 'ignore'});
		return true;
	} catch {
		return false;
	}
}

main().then(() => process.exit(failures === 0 ? 0 : 1), error => {
	console.log(error.stack);
	browser.process.kill();
	process.exit(1);
});
