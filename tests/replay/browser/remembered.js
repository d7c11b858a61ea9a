/*
 * node remembered.js REPLAY [SEED]: what the page says of a recording under the library's quick fit,
 * how much that remembers of each HOLE, against mems_walk after every call. Random calls: so much is
 * freed that it is merged, limits make it so, too, and of large blocks few are remembered. Without
 * a browser. Exit 1 where they differ.
 */
'use strict';

const assert = require('assert');
const {execFileSync} = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');
const {Run, callsRead, rememberedRead} = require('../../../sample/replay/page/history.js');
const {Random, line} = require('./random.js');

const [replay, seedText] = process.argv.slice(2);
const TRACES = 80, CALLS = 499; /* as many as --walks tells of */

/* Small blocks that come again, or large ones, of which some displace one another. */
function sizeOf(random, isLarge) {
	return isLarge ? random.of([9000, 20000, 8200 + 8 * random.below(7000), 70000]) :
		random.of([8, 24, 24, 100, 1000, 1500, 3000, 1 + random.below(300)]);
}

function traceOf(random) {
	const isLarge = random.below(2) === 0, lines = [], live = [];
	let isFreeing = false;
	for (let next = 0; lines.length < CALLS; next++) {
		isFreeing = random.below(40) === 0 ? !isFreeing : isFreeing;
		const kind = random.below(100) === 0 ? 'g' : random.of(isFreeing ? 'ffffar' : 'aaaacmrf');
		const at = random.below(Math.max(1, live.length));
		const block = 'rf'.includes(kind) ? live[at] : next;
		if (block === undefined)
			continue;
		if (kind === 'f')
			live.splice(at, 1);
		else if (!'rg'.includes(kind))
			live.push(next);
		lines.push(kind === 'g' ? kind : line({kind, block, size: sizeOf(random, isLarge),
			alignment: kind === 'm' ? 1 << random.below(13) : 0}));
	}
	return lines.join('\n');
}

function compare(file, random, seen) {
	const alignment = random.of([1, 8, 8, 64]), limit = random.of([0, 0, 65536, 600000]);
	fs.writeFileSync(`${file}.rep`, `${traceOf(random)}\n`);
	execFileSync(replay, ['--policy', 'quick_fit', '--alignment', alignment, '--limit', limit,
		'--html', `${file}.html`, '--walks', `${file}.walks`, `${file}.rep`]);
	const html = fs.readFileSync(`${file}.html`, 'utf8');
	const data = JSON.parse(html.match(/<script type="application\/json"[^>]*>([^]*?)<\/script>/)[1]);
	const {calls, results} = callsRead(data);
	const remembered = rememberedRead(data);
	const run = new Run(calls, data, {results, nodes: data.nodes, remembered});
	assert.strictEqual(remembered.length, calls.count + 1);
	const walks = fs.readFileSync(`${file}.walks`, 'utf8').trim().split('\n').map(l => JSON.parse(l));
	for (const walk of [...walks, ...walks.slice(-150).reverse()]) { /* there and back */
		const found = run.at(walk.call).text();
		seen.flushed += remembered[walk.call] !== null && remembered[walk.call].isFlushed;
		seen.compared += walk.text !== '';
		if (walk.text)
			assert.strictEqual(found, walk.text, `call ${walk.call}, alignment ${alignment}, limit ` +
				`${limit}`);
		const sum = [...walk.text.matchAll(/\+(\d+)/g)].reduce((n, [, bytes]) => n + Number(bytes), 0);
		if (walk.text)
			assert.strictEqual(run.at(walk.call).rememberedBytes(), sum);
		seen.remembered += sum > 0;
	}
}

const seed = Number(seedText) || Date.now() % 1e9;
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'remembered-'));
console.log('[ RUN      ] what quick fit remembers');
console.log(`seed ${seed}`);
const random = new Random(seed), seen = {compared: 0, remembered: 0, flushed: 0};
for (let i = 0; i < TRACES; i++)
	compare(path.join(folder, 'heap'), random, seen);
fs.rmSync(folder, {recursive: true});
console.log(JSON.stringify(seen));
assert.ok(seen.remembered > seen.compared / 2 && seen.flushed > 100);
console.log('[       OK ] what quick fit remembers');
