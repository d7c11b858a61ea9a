/*
 * node usage.js REPLAY FOLDER: what a user can do on the page, with the mouse and with the keyboard
 * alone. Calls suite. Exit 1 where a test failed.
 */
'use strict';

const assert = require('assert');
const {execFileSync} = require('child_process');
const fs = require('fs');
const path = require('path');
const {Suite, SMALL, SMALL_CALLS, replay, folder, pageOfText, traceOf, run} = require('./suite.js');

let suite;

const active = what => suite.get(`document.activeElement.${what}`);

/* ---- Watching -------------------------------------------------------------------------------- */

async function testKeys() {
	await suite.open(pageOfText(SMALL));
	for (const [key, wanted] of [['ArrowRight', 1], ['ArrowRight', 2], ['ArrowLeft', 1],
		['End', SMALL_CALLS], ['ArrowRight', SMALL_CALLS], ['ArrowLeft', 23], ['Home', 0],
		['ArrowLeft', 0]]) {
		await suite.press(key);
		assert.strictEqual(await suite.call(), wanted, key);
	}
	await suite.get('document.getElementById("slider").focus()');
	await suite.press('ArrowRight');
	assert.strictEqual(await suite.call(), 1, 'the slider');
	await suite.get('document.activeElement.blur()');
	await suite.press(' ');
	assert.strictEqual(await suite.text('#play'), 'Pause');
	await suite.press('ArrowRight');
	assert.strictEqual(await suite.text('#play'), 'Run', 'a step ends the run');
	await suite.get('document.getElementById("number").focus()');
	await suite.get('document.getElementById("number").select()');
	await suite.type('17');
	await suite.press('Enter');
	assert.strictEqual(await suite.call(), 17, 'the number of a call');
}

async function testRun() {
	await suite.choose('#speed', '16');
	await suite.get('timeline.go(0)');
	await suite.click('#play');
	await suite.until(`Number(document.getElementById('slider').value) === ${SMALL_CALLS}`, 'the end');
	await suite.until('document.getElementById("play").textContent === "Run"', 'it stops there');
	const box = await suite.get(`(() => {
		const chart = document.querySelector('#chart .chart');
		chart.scrollIntoView({block: 'center'});
		const box = chart.getBoundingClientRect();
		return {x: box.x + box.width / 2, y: box.y + 20};
	})()`);
	for (const type of ['mousePressed', 'mouseReleased'])
		await suite.browser.send('Input.dispatchMouseEvent',
			{type, button: 'left', buttons: 1, clickCount: 1, ...box});
	assert.strictEqual(await suite.call(), 12, 'the chart leads to a step');
	assert.strictEqual(await suite.get('document.querySelector("#chart .cursor").style.left'), '50%');
}

/* From segment to segment with the keyboard alone. */
async function testSegmentKeys() {
	await suite.get('timeline.go(8)');
	await suite.tabTo('#map .seg');
	const label = () => active('getAttribute("aria-label")');
	assert.strictEqual(await label(), 'PROCESS[2000:2399], 400 bytes, block 6, changed, looked at: ' +
		'number 1, taken');
	await suite.press('ArrowRight');
	assert.match(await label(), /^HOLE\[2400:2999\], 600 bytes, changed$/);
	await suite.press('Home');
	assert.match(await label(), /^PROCESS\[1000:1999\], 1,000 bytes, block 0$/);
	await suite.press('ArrowDown');
	assert.match(await label(), /^PROCESS\[5096:6095\]/);
	await suite.press('Enter');
	const info = await suite.text('#info');
	for (const part of ['5096–6095', '1,000 bytes', '0x', 'call 5: mems_malloc(1000), block 4'])
		assert.ok(info.includes(part), `${part} in ${info}`);
	assert.strictEqual(await suite.call(), 8, 'the step stays');
	assert.match(await label(), /^PROCESS\[5096:6095\]/, 'and so does the focus');
	await suite.get('timeline.go(9)');
	assert.match(await label(), /^PROCESS\[5096:6095\]/, 'in the next step, too');
	await suite.press('ArrowUp', 'ArrowDown');
	assert.match(await suite.text('#tip'), /physical 0x/);
}

/* What is told of each kind of step; whether it is true is tested in stories.js. */
async function testStories() {
	for (const [k, badge, why] of [
		[1, 'new main node', /There is no HOLE to look at.*new main node of 1 page/s],
		[7, 'freed', /PROCESS\[2000:2999\] becomes a HOLE.*On its left lies PROCESS\[1000:1999\]/s],
		[8, 'split', /HOLE\[2000:2999\] is split: PROCESS\[2000:2399\] takes 400 bytes/],
		[10, 'merge', /On its right lies HOLE\[5000:5095\]: they merge.*HOLE\[4000:5095\]/s],
		[11, 'merge', /On its left lies HOLE\[2704:2999\]: they merge.*HOLE\[2704:5095\]/s],
		[12, 'split', /The gap before it stays HOLE/],
		[13, 'moved', /moves from 5096 to \d+/],
		[16, 'shrunk in place', /shrinks to PROCESS/],
		[22, 'grown in place', /with room enough: PROCESS.* grows to PROCESS/],
	]) {
		await suite.get(`timeline.go(${k})`);
		assert.ok((await suite.text('#badges')).includes(badge), `${badge} at step ${k}`);
		assert.match(await suite.text('#why'), why);
		assert.match(await suite.get('document.getElementById("live").textContent'), why);
		assert.ok(await suite.get('document.querySelectorAll("#map .changed").length') > 0);
		assert.ok(await suite.get('document.querySelectorAll("#strips .box").length') > 1);
		assert.match(await suite.text('#strips'), /not to scale/);
	}
	await suite.get('timeline.go(14)');
	assert.match(await suite.text('#looks'), /Looked at 4 HOLEs for 1,200 bytes:/);
	assert.match(await suite.text('#looks'), /4\.\s+HOLE\[6600:9191\]\s+2,592 bytes: taken/);
	assert.strictEqual(await suite.get('document.querySelectorAll("#map .order").length'), 4);
}

async function testPolicies() {
	await suite.open(pageOfText(SMALL));
	await suite.choose('#policy', 'worst_fit');
	await suite.get('timeline.go(8)');
	assert.match(await suite.text('#call'), /→ 6600/);
	assert.match(await suite.text('#why'), /Worst fit looks at all HOLEs/);
	await suite.open(pageOfText(SMALL, '--policy', 'quick_fit'));
	await suite.get('timeline.go(8)');
	assert.match(await suite.text('#why'), /Quick fit, as the library has it/);
	await suite.choose('#policy', 'quick_fit');
	await suite.get('timeline.go(7)');
	assert.strictEqual(await suite.text('#badges'), 'remembered');
	assert.ok(await suite.get('document.querySelectorAll("#map .quick").length') > 0);
	await suite.open(pageOfText(SMALL, '--policy', 'best_fit'));
	await suite.get('timeline.go(8)');
	assert.match(await suite.text('#why'), /Best fit looks at all HOLEs/);
}

/* What the library's own quick fit remembers of HOLEs: in the picture, in words, in the legend. */
async function testRemembered() {
	await suite.open(pageOfText(`${SMALL}g\n`, '--policy', 'quick_fit'), 'call=7');
	const hole = '#map .seg[data-start="2000"]';
	assert.strictEqual(await suite.get(`document.querySelector('${hole}').className`),
		'seg hole kept changed');
	assert.match(await suite.get(`document.querySelector('${hole}').getAttribute('aria-label')`),
		/^HOLE\[2000:2999\], 1,000 bytes, of which 1,000 are remembered, changed$/);
	assert.match(await suite.text('#heap-line'), /; of these, quick fit remembers \d,000 bytes$/);
	assert.match(await suite.text('#why'), /HOLE\[2000:2999\], quick fit remembers 1,000 bytes/);
	assert.match(await suite.text('#legend'), /HOLE that quick fit remembers in part/);
	await suite.click(hole);
	assert.match(await suite.text('#info'), /Remembered\s+1,000 bytes, for requests of just/);
	assert.match(await suite.text('#list [aria-current]'), /1,000 remembered/);
	const kept = 'document.querySelectorAll("#map .kept").length';
	assert.ok(await suite.get(kept) > 0);
	await suite.get('timeline.go(25)');
	assert.strictEqual(await suite.get(kept), 0, 'none after mems_trim');
	assert.match(await suite.text('#why'), /bytes that quick fit remembers are merged/);
	await suite.choose('#policy', 'first_fit');
	assert.doesNotMatch(await suite.text('#legend'), /remembers/);
	await suite.click('[data-mode="compare"]');
	assert.ok(!await suite.isShown('#quick-key'));
	await suite.click('#compare-choice [value="recorded"]');
	await suite.get('timeline.go(11)');
	assert.ok(await suite.isShown('#quick-key'));
	assert.ok(await suite.get('document.querySelectorAll("[data-policy=recorded] .kept").length') > 0);
	assert.match(await suite.text('[data-policy=first_fit] .panel-words'),
		/than under recorded quick fit|they do under recorded quick fit/);
}

async function testLinks() {
	const html = pageOfText(SMALL);
	await suite.open(html, 'call=17');
	assert.strictEqual(await suite.call(), 17);
	await suite.open(html, '11');
	assert.strictEqual(await suite.call(), 11, 'the short form');
	for (const [hash, check] of [['call=9&policy=best_fit', '#heap'],
		['call=9&mode=compare&policies=next_fit,worst_fit', '#panels'],
		['call=3&show=1&mode=play', '#play-form']]) {
		await suite.open(html, hash);
		assert.ok(await suite.isShown(check), hash);
		if (!hash.includes('play'))
			assert.strictEqual(await suite.get('document.getElementById("link").hash'), `#${hash}`);
	}
	await suite.open(html, 'call=5');
	await suite.press('ArrowRight');
	await suite.click('#link');
	assert.strictEqual(await suite.get('location.hash'), '#call=6');
	await suite.get('history.back()');
	await suite.until('Number(document.getElementById("slider").value) === 5', 'back to the call');
	await suite.open(html, 'call=nonsense&mode=none&show=99&policies=a,b');
	assert.strictEqual(await suite.call(), 0, 'nonsense is the start');
}

/* What a recording says of who made a call, and of calls with wrong addresses. */
async function testLabels() {
	const text = 'a 0 100 parser\na 1 200 parser\na 2 8\na 3 16 a%20b%3cc%3e%c3%bc\nf 0\n' +
		'e free 1000\ne realloc 1108\nr 1 400\ne free 18446744073709551615\n';
	await suite.open(pageOfText(text), 'call=2');
	assert.match(await suite.text('#where'), /^Call 2 of 6, made by parser$/);
	assert.match(await suite.text('#info'), /Block\s+parser #1/);
	assert.match(await suite.text('#info'), /call 2: mems_malloc\(200\), parser #1/);
	assert.match(await suite.text('#list'), /bytes, parser #0/);
	await suite.get('timeline.go(3)');
	assert.strictEqual(await suite.text('#where'), 'Call 3 of 6');
	await suite.get('timeline.go(4)');
	assert.match(await suite.text('#where'), /made by a b<c>ü$/);
	assert.match(await suite.text('#call'), /, a b<c>ü #3$/);
	await suite.get('timeline.go(5)');
	assert.match(await suite.text('#call'), /^mems_free\(parser #0\)/);
	assert.match(await suite.text('#why'), /mistake: mems_free\(1000\), which lies in HOLE\[1000:/);
	assert.match(await suite.text('#why'), /mistake: mems_realloc\(1108\), which lies inside PROCESS/);
	await suite.get('timeline.go(6)');
	assert.match(await suite.text('#why'), /mems_free\(18446744073709551615\), which is no address/);
	await suite.click('#what-if');
	const saved = await suite.get('fetch(document.getElementById("export").href).then(r => r.text())');
	assert.match(saved, /^a 0 100 parser\na 1 200 parser\na 2 8\na 3 16 a%20b%3Cc%3E%C3%BC\nf 0\nr 1/);
	const file = traceOf(saved);
	assert.match(execFileSync(replay, [file], {encoding: 'utf8'}), /6 calls/);
}

/* The table of labels adds up to what is in use; a label that is chosen makes its blocks stand out. */
async function testLabelTable() {
	await suite.open(pageOfText('a 0 100 parser\na 1 1000 cache\na 2 8\nm 3 16 64 cache\na 4 500 a%3cb\n' +
		'r 0 2000\nf 1\na 1 24 parser\n'), 'call=5');
	const rows = () => suite.get(`[...document.querySelectorAll('#label-table tbody tr')]
		.map(row => [...row.children].map(cell => cell.innerText).join(' ')).join()`);
	const dimmed = () => suite.get(`[...document.querySelectorAll('#map .other')]
		.map(mark => mark.dataset.start).join()`);
	assert.strictEqual(await rows(), 'cache 2 1,016,a<b 1 504,parser 1 104,no label 1 8');
	assert.match(await suite.get('document.querySelector("#map .bar").innerText'), /1000 cache/);
	assert.strictEqual(await dimmed(), '');
	await suite.click('#label-table [data-label=cache]');
	const others = (await dimmed()).split(',');
	assert.strictEqual(others.length >= 2 && others[0], '1000');
	assert.ok(!others.includes('1104'));
	assert.match(await suite.get('document.querySelector("#map .other").getAttribute("aria-label")'),
		/, parser #0, of another label$/);
	assert.strictEqual(await active('dataset.label'), 'cache', 'the focus stays');
	assert.match(await suite.get('document.getElementById("link").hash'), /label=cache/);
	await suite.get('timeline.go(6)');
	assert.strictEqual(await rows(), 'parser 1 2,000,cache 2 1,016,a<b 1 504,no label 1 8',
		'a block that moves keeps its label');
	assert.match(await suite.text('#call'), /^mems_realloc\(parser #0, 2000\)/);
	await suite.get('timeline.go(8)');
	assert.strictEqual(await rows(), 'parser 2 2,024,a<b 1 504,cache 1 16,no label 1 8',
		'and the next block of the same name has its own');
	await suite.get('timeline.go(0)');
	assert.strictEqual(await rows(), 'cache 0 0', 'the label that is chosen stays');
	await suite.click('#label-table [data-label=cache]');
	assert.strictEqual(await rows(), '');
	await suite.open(pageOfText('a 0 100 parser\na 1 100\n'), 'call=2&label=');
	assert.strictEqual(await dimmed(), '1000', 'a link has the label, no label too');
	await suite.click('#what-if');
	assert.strictEqual(await rows(), 'parser 1 104,no label 1 104');
	await suite.open(pageOfText(SMALL));
	assert.ok(!await suite.isShown('#labels'), 'without labels there is no table');
	await suite.open(pageOfText(Array.from({length: 60}, (_, i) =>
		`a ${i} ${i * 8 + 8} label${i}\n`).join('')), 'call=60&label=label0');
	assert.strictEqual(await suite.get('document.querySelectorAll("#label-table button").length'), 51,
		'the 50 largest, and the one that is chosen');
	assert.match(await suite.text('#label-table'), /label10\s1\s88\slabel0\s1\s8\sand 9 more labels$/);
}

/* ---- The picture ----------------------------------------------------------------------------- */

const LABELS = 'document.querySelector("#map .bar").innerText';

async function testZoom() {
	const small = Array.from({length: 100}, (_, i) => `a ${i} ${i % 2 ? 8 : 16}`).join('\n');
	await suite.open(pageOfText(`${small}\nf 50\nf 70\na 200 8\n`), 'call=103');
	assert.match(await suite.text('#map .scale-words'), /^Drawn to scale\.$/);
	await suite.tabTo('#map .seg.changed');
	assert.match(await active('getAttribute("aria-label")'), /summed up, changed$/);
	for (let i = 0; i < 6; i++)
		await suite.press('+');
	assert.match(await suite.text('#map .scale-words'), /, but main node 0, zoomed\.$/);
	assert.match(await suite.get(LABELS), /8 #200/, 'a block of 8 bytes has a label');
	assert.match(await active('getAttribute("aria-label")'), /^PROCESS\[159\d:/, 'the focus stays');
	assert.match(await suite.get('document.querySelector("#map .changed").getAttribute("aria-label")'),
		/^PROCESS\[1600:1607\], 8 bytes, block 200, changed/);
	assert.match(await suite.text('#map .zoomed'), /^zoomed: 1[56]\d\d–16\d\d$/);
	for (let i = 0; i < 30; i++)
		await suite.press('ArrowRight');
	assert.match(await active('getAttribute("aria-label")'), /block [78]\d/, 'it pans with the focus');
	const shown = await suite.text('#map .zoomed');
	await suite.press('PageUp');
	assert.notStrictEqual(await suite.text('#map .zoomed'), shown);
	for (let i = 0; i < 12; i++)
		await suite.press('+');
	assert.ok(await suite.get('document.querySelectorAll("#map .seg").length') >= 1);
	await suite.press('0');
	assert.match(await suite.text('#map .scale-words'), /^Drawn to scale\.$/);
	await suite.click('[data-zoom="in"]', '[data-zoom="right"]');
	assert.ok(await suite.isShown('#map .zoomed'));
	await suite.get('timeline.go(20)');
	assert.ok((await suite.text('#map .zoomed')).startsWith('zoomed: 1'), 'it follows the change');
	await suite.click('[data-zoom="all"]');
	await suite.get(`document.querySelector('#map .bar').dispatchEvent(new WheelEvent('wheel',
		{deltaY: -100, ctrlKey: true, bubbles: true, clientX: 300}))`);
	assert.ok(await suite.isShown('#map .zoomed'), 'the wheel');
	const before = await suite.text('#map .zoomed');
	await drag('#map .bar', -200);
	assert.notStrictEqual(await suite.text('#map .zoomed'), before, 'dragging');
}

/* Drags something by so many pixels. */
async function drag(selector, by) {
	const at = await suite.get(`(() => {
		const box = document.querySelector('${selector}').getBoundingClientRect();
		return {x: box.x + box.width / 2, y: box.y + 30};
	})()`);
	const send = (type, x, buttons) => suite.browser.send('Input.dispatchMouseEvent',
		{type, button: 'left', buttons, clickCount: 1, x, y: at.y});
	await send('mousePressed', at.x, 1);
	await send('mouseMoved', at.x + by / 2, 1);
	await send('mouseMoved', at.x + by, 1);
	await send('mouseReleased', at.x + by, 0);
}

/* More main nodes than are shown at once, and segments too narrow to be seen. */
async function testManyNodes() {
	let lines = '';
	for (let i = 0; i < 30; i++)
		lines += `a ${3 * i} 8\na ${3 * i + 1} 8\na ${3 * i + 2} 16000\n`;
	await suite.open(pageOfText(lines), 'call=90');
	const names = await suite.browser.names();
	for (const wanted of ['slider: Main nodes from', 'checkbox: Follow the change'])
		assert.ok(names.includes(wanted), `${wanted} in\n${names.join('\n')}`);
	const row = () => suite.get('document.querySelector("#map .row").getAttribute("aria-label")');
	const last = await row();
	await suite.get('document.querySelector("#map .first-node").focus()');
	await suite.press('Home');
	assert.match(await row(), /^Main node 0,/, 'the keyboard leads to the first node');
	assert.notStrictEqual(last, await row());
	assert.strictEqual(await suite.call(), 90, 'the step stays');
	await suite.click('#map .seg[data-look="mixed"]');
	assert.match(await suite.text('#info'), /Summed up/);
	assert.ok(await suite.get('document.querySelectorAll("#list button").length') > 1);
	await suite.click('#list button');
	assert.match(await suite.text('#info'), /PROCESS\[\d+:\d+\]/);
	assert.strictEqual(await active('closest("#list") !== null'), true, 'the focus stays');
}

/* ---- Comparing ------------------------------------------------------------------------------- */

async function testCompare() {
	await suite.open(pageOfText(SMALL), 'call=8');
	await suite.click('[data-mode="compare"]');
	const panels = () => suite.get(`[...document.querySelectorAll('#panels > *')]
		.map(p => p.getAttribute('aria-label')).join()`);
	assert.strictEqual(await panels(), 'first fit,best fit');
	await suite.click('#compare-choice [value="worst_fit"]', '#compare-choice [value="next_fit"]');
	assert.strictEqual(await panels(), 'first fit,next fit,best fit,worst fit');
	assert.ok(await suite.get('document.querySelector("[value=quick_fit]:disabled") !== null'),
		'four at most');
	assert.strictEqual(await suite.call(), 8, 'the step stays');
	const panel = policy => suite.text(`#panels [data-policy="${policy}"] .panel-words`);
	assert.match(await panel('first_fit'), /^split → 2000\. Looked at 1 HOLE\.$/);
	assert.match(await panel('best_fit'), /→ 2000\. Looked at 3 HOLEs\. All blocks lie where/);
	assert.match(await panel('worst_fit'), /→ 6600\. Looked at 3 HOLEs\. 1 block lies elsewhere/);
	const differs = `[...document.querySelectorAll('[data-policy=worst_fit] .differs')]
		.map(b => b.getAttribute('aria-label')).join()`;
	assert.match(await suite.get(differs),
		/^PROCESS\[6600:6999\], 400 bytes, block 6, changed, elsewhere than under first fit$/);
	assert.strictEqual(await suite.get('document.querySelectorAll("#compare-charts svg").length'), 4);
	await suite.press('ArrowRight');
	assert.match(await panel('first_fit'), /→ 2400/, 'they step together');
	assert.match(await panel('worst_fit'), /→ 7000/);
	const table = await suite.text('#compare-table');
	assert.match(table, /Bytes mapped\s+8,192\s+8,192\s+8,192\s+8,192/);
	assert.match(table, /HOLEs\s+3\s+3\s+3\s+3/);
	await suite.click('#compare-choice [value="first_fit"]', '#compare-choice [value="next_fit"]');
	assert.strictEqual(await panels(), 'best fit,worst fit');
	assert.strictEqual(await suite.get(
		'document.querySelectorAll("#compare-choice :checked:disabled").length'), 2, 'two at least');
}

/* The table of measures against what mems-replay --compare says. */
async function testMeasures() {
	const text = fs.readFileSync('tests/traces/bash.rep', 'utf8').split('\n').slice(0, 3000)
		.filter(line => /^[a-z]/.test(line)).join('\n');
	const html = pageOfText(text);
	const said = execFileSync(replay, ['--compare', traceOf(text)], {encoding: 'utf8'});
	const row = name => said.split('\n').find(line => line.startsWith(name)).slice(name.length)
		.trim().split(/\s+/).slice(0, 5);
	const peak = /\(after call (\d+)\)/.exec(said)[1];
	for (const policies of [['first_fit', 'next_fit', 'best_fit', 'worst_fit'],
		['worst_fit', 'quick_fit']]) {
		const cells = async call => {
			await suite.open(html, `call=${call}&mode=compare&policies=${policies.join(',')}`);
			await suite.until(`!timeline.isWorking && document.getElementById('slider').value > 0`);
			return suite.get(`Object.fromEntries([...document.querySelectorAll('#compare-table tr')]
				.map(row => [...row.cells].map(c => c.innerText.replace(/[✓, %]/g, '')))
				.map(([name, ...rest]) => [name, rest]))`);
		};
		const of = name => policies.map(policy =>
			row(name)[['first_fit', 'next_fit', 'best_fit', 'worst_fit', 'quick_fit'].indexOf(policy)]);
		const then = await cells(peak), end = await cells(text.split('\n').length);
		assert.deepStrictEqual(then['Bytesmapped'], of('bytes mapped at the peak'));
		assert.deepStrictEqual(then['HOLEs'], of('HOLEs at the peak'));
		assert.deepStrictEqual(then['Externalfragmentation'],
			of('% external fragmentation at the peak'));
		assert.deepStrictEqual(end['HOLEslookedatsofarperrequestmean'],
			of('HOLEs looked at per request, mean'));
		assert.deepStrictEqual(end['HOLEslookedatsofarperrequestworst'],
			of('HOLEs looked at per request, worst'));
	}
}

/* ---- Predicting ------------------------------------------------------------------------------ */

/* Chooses the segment that holds an address. */
const clickAt = address => suite.click(`#map .seg[data-start="${address}"]`);

async function testPredictRight() {
	await suite.open(pageOfText(SMALL));
	await suite.click('[data-mode="predict"]', '#next');
	assert.strictEqual(await suite.text('#question'), 'Where will mems_malloc(1000) go?');
	assert.strictEqual(await suite.call(), 0, 'it waits for the answer');
	assert.ok(!await suite.isShown('#step'), 'the call is not told before');
	await suite.click('[data-type="node"]');
	assert.match(await suite.text('#verdict'), /✓ Right\.[^]*Next question\s*1 of 1 right/);
	assert.strictEqual(await suite.call(), 1);
	await suite.get('timeline.go(7)');
	await suite.click('#next');
	await clickAt(2000);
	assert.match(await suite.text('#verdict'), /Right[^]*2 of 2 right/);
	assert.match(await suite.text('#why'), /HOLE\[2000:2999\] is split/);
	assert.strictEqual(await suite.call(), 8);
	await suite.get('timeline.go(9)');
	await suite.click('#next', '[data-type="right"]');
	assert.match(await suite.text('#verdict'), /Right[^]*3 of 3 right, 3 in a row/);
	await suite.get('timeline.go(12)');
	await suite.click('#next');
	assert.strictEqual(await suite.text('#question'), 'What will mems_realloc(block 4, 1500) do?');
	await clickAt(2832);
	assert.match(await suite.text('#verdict'), /Right[^]*4 of 4 right/);
	assert.match(await suite.text('#badges'), /moved/);
}

async function testPredictWrong() {
	for (const [k, selector, why] of [
		[7, '#map .seg[data-start="1000"]', /Wrong\. PROCESS\[1000:1999\] is in use/],
		[7, '#map .seg[data-start="6600"]', /Wrong.*large enough, but first fit takes the lowest/],
		[7, '[data-type="node"]', /Wrong\. A new main node is mapped only where nothing else/],
		[13, '#map .seg[data-look="hole"]', /Wrong.*is too small for it/],
		[10, '[data-type="left"]', /Wrong\. On both sides lies a HOLE/],
		[15, '[data-type="grow"]', /Wrong\. That is not what it does/],
		[15, '#map .seg[data-start="1000"]', /Wrong\. It does not move/],
	]) {
		await suite.get(`timeline.go(${k})`);
		await suite.click('#next', selector);
		assert.match(await suite.text('#verdict'), why);
		assert.strictEqual(await suite.call(), k + 1);
	}
	await suite.get('timeline.go(6)');
	await suite.click('#next');
	await clickAt(2000);
	assert.strictEqual(await suite.call(), 6, 'a free asks for no place');
}

/* Nothing that is shown may tell what comes next: two traces that part there look the same. */
async function testNothingIsGivenAway() {
	const lines = SMALL.trim().split('\n');
	const others = ['a 20 90000', ...lines.slice(11).map((_, i) => `a ${30 + i} 5000`)];
	const look = async text => {
		await suite.open(pageOfText(text), 'call=9&mode=predict');
		await suite.click('#next');
		return suite.get(`document.getElementById('chart').innerHTML +
			['map', 'totals', 'heap-line', 'prompt', 'list', 'info', 'about'].map(id =>
			document.getElementById(id).innerText).join() + document.querySelector('#slider').max`);
	};
	const asked = await look(SMALL);
	assert.match(asked, /top: 8,192 bytes/, 'the top of the curve is what was mapped so far');
	assert.strictEqual(await suite.get(
		'document.querySelectorAll("#map .changed, #map .order").length'), 0);
	assert.ok(!await suite.isShown('#strips'));
	const parted = await look([...lines.slice(0, 10), ...others].join('\n'));
	assert.strictEqual(parted.replace(/0x\w+/g, ''), asked.replace(/0x\w+/g, ''));
}

/* With the keyboard alone, and the focus never lost. */
async function testPredictKeys() {
	await suite.open(pageOfText(SMALL), 'call=7&mode=predict');
	await suite.press('ArrowRight');
	assert.strictEqual(await active('id'), 'question');
	await suite.tabTo('#map .seg');
	await suite.press('Home', 'ArrowRight', 'Enter');
	assert.match(await suite.text('#verdict'), /Right/);
	assert.strictEqual(await active('id'), 'next-question', 'on to the next one');
	await suite.press('Enter');
	assert.strictEqual(await active('id'), 'question');
	await suite.press('1');
	assert.match(await suite.text('#verdict'), /Wrong/);
	for (let k = 9; k < SMALL_CALLS; k++) {
		assert.strictEqual(await active('id'), 'next-question', `after call ${k}`);
		await suite.press('Enter');
		assert.strictEqual(await active('id'), 'question', `before call ${k + 1}`);
		await suite.press('1');
	}
	await suite.press('Enter');
	assert.match(await suite.text('#verdict'), /That was the last call[^]*of 17 right/);
	await suite.get('timeline.go(7)');
	await suite.click('#next');
	await suite.click('#list button[data-start="2000"]');
	assert.match(await suite.text('#verdict'), /Right/, 'chosen in the list');
	await suite.click('#next-question', '#show-me');
	assert.match(await suite.text('#verdict'), /So it goes/);
	assert.strictEqual(await active('id'), 'next-question');
}

async function testExercises() {
	await suite.open(pageOfText(SMALL));
	const names = await suite.get('[...document.getElementById("source").options].map(o => o.text)');
	assert.strictEqual(names.filter(name => name.startsWith('Exercise')).length, 10);
	await suite.choose('#source', '2');
	assert.match(await suite.text('#verdict'), /A HOLE is split[^]*Begin\s*6 questions/);
	assert.match(await suite.text('#verdict p'), /^The first request .* is a HOLE\. From then on /,
		'its lines are one text');
	await suite.click('#next-question', '[data-type="node"]');
	for (let k = 1; k < 6; k++) {
		await suite.click('#next-question');
		await suite.click('#map .seg.hole');
	}
	await suite.click('#next-question');
	assert.match(await suite.text('#verdict'), /last call[^]*Next exercise\s*\d of 6 right/);
	await suite.click('#next-question');
	assert.match(await suite.text('#title'), /^Exercise 2/);
	assert.match(await suite.text('#verdict'), /Begin\s*7 questions/, 'a new score');
	assert.strictEqual(await suite.call(), 9, 'what leads there is done');
	await suite.choose('#source', '11');
	await suite.choose('#source', '0');
	assert.match(await suite.text('#title'), /^The heap of trace\.rep/);
}

/* A trace of the user's, and an exercise of a teacher's. */
async function testOpen() {
	await suite.open(pageOfText(SMALL));
	const openFile = async (name, text) => {
		const file = path.join(folder, name);
		fs.writeFileSync(file, text);
		const {root} = await suite.browser.send('DOM.getDocument');
		const {nodeId} = await suite.browser.send('DOM.querySelector',
			{nodeId: root.nodeId, selector: '#open'});
		await suite.browser.send('DOM.setFileInputFiles', {files: [file], nodeId});
	};
	await openFile('mine.trace', 'o policy best-fit\na 7 100\na 9 200\nf 7\n');
	await suite.until('document.getElementById("title").textContent.includes("mine.trace")');
	await suite.press('End');
	assert.match(await suite.text('#call'), /mems_free\(block 7\) at 1000/);
	assert.strictEqual(await suite.get('document.getElementById("policy").value'), 'best_fit');
	await openFile('bad.trace', 'a 1 8\nb 2 8\n');
	await suite.until('document.getElementById("open-fault").textContent');
	assert.strictEqual(await suite.text('#open-fault'), 'bad.trace: line 2: no such call: b');
	await openFile('own.trace', '# My own\n# Think.\na 0 8\n# predict\nf 0\n');
	await suite.until('document.getElementById("title").textContent === "My own"');
	assert.match(await suite.text('#verdict'), /My own\s*Think\.\s*Begin\s*1 question$/);
	assert.strictEqual(await suite.text('#open-fault'), '');
}

/* ---- Playing --------------------------------------------------------------------------------- */

async function typeCalls(...calls) {
	for (const call of calls) {
		await suite.get('document.getElementById("typed").focus()');
		await suite.type(call);
		await suite.press('Enter');
	}
}

const chain = () => suite.get('timeline.view(timeline.calls).text');

async function testPlay() {
	const html = path.join(folder, 'play.html');
	execFileSync(replay, ['--html', html]);
	await suite.open(html);
	assert.ok(await suite.isShown('#play-form'), 'without a trace the page is to play on');
	assert.strictEqual(await suite.text('#where'), 'Before the first call');
	await typeCalls('malloc 1000', '500', 'mems_malloc(200);');
	assert.strictEqual(await chain(), 'N P1000-1999 P2000-2503 P2504-2703 H2704-5095');
	assert.strictEqual(await active('id'), 'typed', 'the focus stays');
	await typeCalls('free 7');
	assert.match(await suite.text('#typed-fault'), /There is no block 7/);
	await suite.get('document.getElementById("typed").value = ""');
	await suite.click('#map .seg[data-start="2000"]', '[data-act="free"]');
	assert.strictEqual(await chain(), 'N P1000-1999 H2000-2503 P2504-2703 H2704-5095');
	assert.match(await suite.text('#badges'), /freed/);
	await suite.click('#map .seg[data-start="1000"]');
	await suite.get('document.querySelector("#play-block input").value = "1200"');
	await suite.click('[data-act="realloc"]');
	assert.strictEqual(await chain(), 'N P1000-2199 H2200-2503 P2504-2703 H2704-5095');
	await suite.click('#undo', '#undo');
	assert.strictEqual(await chain(), 'N P1000-1999 P2000-2503 P2504-2703 H2704-5095');
	await suite.click('#redo');
	assert.strictEqual(await suite.call(), 4);
	await suite.choose('#policy', 'best_fit');
	await typeCalls('malloc 400');
	assert.match(await suite.text('#why'), /Best fit looks at all HOLEs/);
	await suite.get('document.querySelector("#play-panel details").open = true');
	await suite.choose('#set-alignment', '64');
	assert.match(await chain(), /^N P1000-2023 /, 'all is made anew');
	await suite.choose('#set-limit', '4096');
	await typeCalls('malloc 60000');
	assert.match(await suite.text('#call'), /NULL/);
	assert.match(await suite.text('#why'), /beyond the limit of 4,096 bytes/);
	for (const [start, kept] of [['2147483648', '2147483648'], ['2147483649', '2147483648'],
		['1000', '1000']]) {
		await suite.choose('#set-start', start);
		assert.strictEqual(await suite.get('document.querySelector("#set-start").value'), kept,
			'no start that the library does not have');
	}
	await suite.click('#clear');
	assert.strictEqual(await chain(), '');
	await suite.click('#allocate', '#allocate');
	await suite.get('document.getElementById("allocate-size").select()');
	await suite.type('64');
	await suite.press('Enter');
	assert.strictEqual(await chain(), 'N P1000-1127 P1128-1255 P1256-1319 H1320-5095', 'by clicks');
	await suite.get('document.getElementById("allocate-size").value = ""');
	await suite.click('#allocate');
	assert.match(await suite.text('#typed-fault'), /The form is: malloc SIZE/);
	await suite.click('#clear');
}

async function testContents() {
	await typeCalls('malloc 100', 'write 0 hello');
	await suite.click('#map .seg[data-start="1000"]', '#contents summary');
	assert.match(await suite.text('#info'), /68 65 6c 6c 6f ·· .*hello/);
	await suite.click('[data-act="write"]');
	assert.ok(await suite.get('document.getElementById("contents").open'));
	await suite.click('#undo', '#undo');
	await suite.click('#map .seg[data-start="1000"]', '#contents summary');
	assert.doesNotMatch(await suite.text('#info'), /68 65/, 'taken back');
}

/* From any step of a recording: what would have happened if. */
async function testWhatIf() {
	await suite.open(pageOfText(SMALL), 'call=8');
	await suite.click('#what-if');
	assert.ok(await suite.isShown('#play-form'));
	assert.strictEqual(await suite.call(), 8);
	await typeCalls('free 0');
	assert.match(await chain(), /^N H1000-1999 P2000-2399 /);
	await suite.get('timeline.go(3)');
	await typeCalls('malloc 8');
	assert.strictEqual(await suite.get('timeline.calls'), 4, 'what came later is gone');
	await suite.click('#undo');
	assert.strictEqual(await suite.get('timeline.calls'), 9, 'and comes back');
	await suite.choose('#source', '0');
	assert.strictEqual(await suite.get('timeline.calls'), SMALL_CALLS, 'the recording is as it was');
}

/* What was played, saved as a trace, is read by mems-replay: the same chains. */
async function testExport() {
	await suite.open(pageOfText(SMALL), 'call=14');
	await suite.click('#what-if');
	await typeCalls('aligned 64 200', 'calloc 30', 'free 4', 'realloc 6 5000');
	for (const policy of ['first_fit', 'next_fit', 'best_fit', 'worst_fit']) {
		await suite.choose('#policy', policy);
		const text = await suite.get('fetch(document.getElementById("export").href).then(r => r.text())');
		const file = traceOf(text);
		const printed = execFileSync(replay, ['--json', '-', file], {encoding: 'utf8'});
		const {main_chain: nodes} = JSON.parse(printed);
		const words = nodes.map(node => `N ${node.sub_chain.map(s =>
			`${s.type === 'PROCESS' ? 'P' : 'H'}${s.start}-${s.end}`).join(' ')}`).join(' ');
		assert.strictEqual(await chain(), words, policy);
	}
	assert.strictEqual(await suite.get('document.getElementById("export").download'), 'played.trace');
	const saved = fs.mkdtempSync(path.join(folder, 'saved-'));
	await suite.browser.send('Page.setDownloadBehavior', {behavior: 'allow', downloadPath: saved});
	await suite.click('#export');
	for (let i = 0; i < 100 && !fs.existsSync(path.join(saved, 'played.trace')); i++)
		await new Promise(resolve => setTimeout(resolve, 50));
	const file = fs.readFileSync(path.join(saved, 'played.trace'), 'utf8');
	assert.match(file, /^o policy worst_fit\na 0/);
}

/* ---- Long traces ----------------------------------------------------------------------------- */

async function testProgress() {
	let lines = '';
	for (let i = 0; i < 60000; i++)
		lines += `a ${i} ${8 + i % 50 * 8}\n${i % 3 && i > 2000 ? `f ${i - 2000}\n` : ''}`;
	await suite.open(pageOfText(lines));
	assert.ok(await suite.isShown('#working'), 'its progress is shown');
	await suite.press('End');
	await suite.until('Number(document.getElementById("slider").value) === timeline.calls', 'the end');
	await suite.until('!timeline.isWorking');
	assert.ok(!await suite.isShown('#working'));
}

run(async () => {
	suite = await Suite.start(1280, 1000);
	const tests = {'keys': testKeys, 'running, and the chart': testRun,
		'keys in the picture': testSegmentKeys, 'what is told of a step': testStories,
		'other policies': testPolicies, 'what quick fit remembers': testRemembered, 'links': testLinks,
		'labels and mistakes': testLabels,
		'the table of labels': testLabelTable, 'zoom': testZoom,
		'many main nodes': testManyNodes, 'comparing': testCompare, 'what is compared': testMeasures,
		'right predictions': testPredictRight, 'wrong predictions': testPredictWrong,
		'nothing is given away': testNothingIsGivenAway,
		'predicting with the keyboard': testPredictKeys, 'exercises': testExercises,
		'opening a trace': testOpen, 'playing': testPlay, 'contents': testContents,
		'what if': testWhatIf, 'saving': testExport, 'progress': testProgress};
	for (const [name, body] of Object.entries(tests))
		await suite.test(name, body);
	await suite.end();
});
