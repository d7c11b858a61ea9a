/*
 * node look.js REPLAY FOLDER: how the page looks at three widths, and dark at one of them, in each
 * of its four ways: contrast, the size of text, what fits, and the names that a screen reader says.
 * Pictures go to FOLDER. Calls suite. Exit 1 where a test failed.
 */
'use strict';

const assert = require('assert');
const fs = require('fs');
const path = require('path');
const zlib = require('zlib');
const {Suite, SMALL, folder, pageOfText, run} = require('./suite.js');

const CONTRAST = 4.5;  /* the least, of text against what is behind it */
const TEXT_PIXELS = 12;
/* Colours are the same at each width. At 1280 pixels nothing is hidden. */
const WIDTHS = {light: [375, 1280, 1920], dark: [1280]};

/* What is shown, by name: an address after "#", what is done then, and of which page: the policy of
 * the recording, first fit if none is named, or the one whose blocks have labels. */
const VIEWS = {
	start: ['call=0', ''],
	watch: ['call=14', 'document.querySelector("#map .seg").click()'],
	quick: ['call=11&policy=quick_fit', ''],
	recorded: ['call=11', 'document.querySelector("#map .kept").click()', 'quick_fit'],
	compare: ['call=16&mode=compare&policies=first_fit,next_fit,best_fit,worst_fit', ''],
	question: ['call=8&mode=predict', 'document.getElementById("next").click()'],
	right: ['call=7&mode=predict', 'document.getElementById("next").click(); ' +
		'document.querySelector("#map .seg[data-start=\'2000\']").click()'],
	wrong: ['call=7&mode=predict', 'document.getElementById("next").click(); ' +
		'document.querySelector("#choices button").click()'],
	exercise: ['show=3&mode=predict', ''],
	play: ['call=9&mode=watch', 'document.getElementById("what-if").click(); ' +
		'document.querySelector("#map .seg.process").click(); ' +
		'document.querySelectorAll("details").forEach(d => { d.open = true; }); act("jump")'],
	labels: ['call=20&label=parser', 'document.querySelector("#map .seg").click()', 'labelled'],
	zoomed: ['call=14', 'document.querySelector("[data-zoom=in]").click()'],
};

let suite;

/*
 * In the page: every text that is shown, with the contrast of its colour against the nearest
 * background behind it, and its size. A background that is a pattern counts with each of its
 * colours.
 */
const TEXTS = `(() => {
	const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
	const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c =>
		c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
		.reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
	const contrast = (a, b) => {
		const [x, y] = [light(a), light(b)].sort((m, n) => n - m);
		return (x + .05) / (y + .05);
	};
	const backgrounds = element => {
		for (let e = element; e; e = e.parentElement) {
			const style = getComputedStyle(e);
			const pattern = style.backgroundImage.match(/rgba?\\([^)]*\\)/g) || [];
			const colours = [style.backgroundColor, ...pattern].map(rgb)
				.filter(c => c.length === 3 || c[3] === 1);
			if (colours.length > 0)
				return colours;
			if (style.opacity !== '1')
				throw new Error('something can be seen through: ' + e.className);
		}
		return [[255, 255, 255]];
	};
	const found = [];
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let node = walker.nextNode(); node; node = walker.nextNode()) {
		const e = node.parentElement;
		if (!node.data.trim() || !e.checkVisibility({visibilityProperty: true}) ||
			e.closest('.unseen, script, option, noscript'))
			continue;
		const style = getComputedStyle(e);
		found.push({text: node.data.trim().slice(0, 40), size: parseFloat(style.fontSize),
			contrast: Math.min(...backgrounds(e).map(b => contrast(rgb(style.color), b))),
			where: e.tagName + '.' + e.className});
	}
	for (const e of document.querySelectorAll('input, select')) {
		const style = getComputedStyle(e, e.value || !e.placeholder ? null : '::placeholder');
		if (e.checkVisibility() && e.type !== 'range' && e.type !== 'checkbox')
			found.push({text: e.value || e.placeholder, size: parseFloat(style.fontSize), where: e.id,
				contrast: Math.min(...backgrounds(e).map(b => contrast(rgb(style.color), b)))});
	}
	return found;
})()`;

/* Controls that cannot be named, or reached with Tab although they should be. */
const UNNAMED = `[...document.querySelectorAll('button, input, select, a, summary, [role=img]')]
	.filter(e => e.checkVisibility() && !(e.getAttribute('aria-label') ||
		e.textContent.trim() || e.labels?.length)).map(e => e.outerHTML.slice(0, 90))`;

/* Words that are cut off, though they need not be. */
const CUT = `[...document.querySelectorAll('#controls *, nav *, #prompt *, #play-panel *, ' +
	'#step p, .legend *, #list button, th, td')].filter(e => e.checkVisibility() && e.clientWidth > 0 &&
	e.scrollWidth > e.clientWidth + 1 && !/INPUT|SELECT|PRE/.test(e.tagName) &&
	getComputedStyle(e).display !== 'inline').map(e => e.outerHTML.slice(0, 90))`;

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

async function testView(pages, name, width, scheme) {
	const [hash, script, policy] = VIEWS[name];
	await suite.browser.resize(width, width < 500 ? 2600 : 1400);
	await suite.open(pages[policy || 'first_fit'], hash);
	await suite.until('!timeline.isWorking');
	await suite.get(`(() => { ${script} })()`);
	const texts = await suite.get(TEXTS);
	assert.ok(texts.length > 30, `${texts.length} texts`);
	for (const {text, size, contrast, where} of texts) {
		assert.ok(contrast >= CONTRAST, `${where} "${text}" has a contrast of ${contrast.toFixed(2)}`);
		assert.ok(size >= TEXT_PIXELS, `${where} "${text}" has ${size} pixels`);
	}
	assert.deepStrictEqual(await suite.get(UNNAMED), [], 'controls without a name');
	assert.deepStrictEqual(await suite.get(CUT), [], 'words that are cut off');
	assert.strictEqual(await suite.get(`new Set([...document.querySelectorAll('nav button')].map(b =>
		b.getBoundingClientRect().top)).size`), 1, 'the four ways stand in a line');
	assert.ok(await suite.get('document.documentElement.scrollWidth <= innerWidth'),
		'the page is not wider than the screen');
	const png = await suite.browser.picture();
	fs.writeFileSync(path.join(folder, `${name}-${width}-${scheme}.png`), png);
	assert.ok(pixelValues(png) > 64, 'it is not blank');
}

/* Wide screens are used: the heap and why it is so stand side by side, and fill the width. */
async function testWide(html) {
	await suite.browser.resize(1920, 1200);
	await suite.open(html, 'call=8');
	const boxes = await suite.get(`['heap', 'step'].map(id =>
		document.getElementById(id).getBoundingClientRect().toJSON())`);
	assert.ok(Math.abs(boxes[0].top - boxes[1].top) < 20, 'side by side');
	assert.ok(boxes[0].left < 40 && boxes[1].right > 1880, 'to both edges');
	assert.ok(boxes[0].width > 1150, 'most of it for the heap');
}

/* The names in the accessibility tree. */
async function testNames(html) {
	await suite.browser.resize(1280, 1000);
	const has = async wanted => {
		const names = await suite.browser.names();
		for (const name of wanted)
			assert.ok(names.some(n => name instanceof RegExp ? name.test(n) : n === name),
				`${name} in\n${names.join('\n')}`);
	};
	await suite.open(html, 'call=8');
	await has(['button: First step', 'button: Step back', 'button: Run', 'button: Step forward',
		'button: Last step', 'slider: Step', 'combobox: Speed', 'combobox: Policy', 'combobox: Shown',
		'spinbutton: Call', 'navigation: What to do', 'button: Zoom in', 'link: Link to this step',
		'heading: The sub-chain around it', 'region: The heap',
		/^button: PROCESS\[2000:2399\], 400 bytes, block 6, changed, looked at: number 1, taken$/,
		/^group: Main node 0, \[1000:5095\], physical 0x[0-9a-f]+, 6 segments$/,
		/^image: Bytes over 24 calls\. At call 8:/, /^image: Before: .*HOLE\[2000:2999\]/]);
	await suite.open(html, 'call=8&mode=predict');
	await suite.click('#next');
	await has([/^group: Where will mems_calloc\(1, 300\) go\?$/, 'button: Show me',
		/button: 1 In a new main node/]);
	await suite.open(html, 'call=8&mode=compare');
	await has(['region: first fit', 'region: best fit', 'checkbox: worst fit',
		/^image: Bytes mapped over 24 calls, at most/, 'region: Measures of each policy']);
	await suite.open(html, 'show=1&mode=play');
	await has(['textbox: Make a call after this step', 'button: Do it', 'link: Save as a trace']);
}

/* Every control can be reached with Tab, and what has the focus can be seen. */
async function testFocus(html) {
	await suite.open(html, 'call=8');
	const seen = new Set();
	for (let i = 0; i < 80; i++) {
		await suite.press('Tab');
		const [name, width] = await suite.get(`(() => {
			const e = document.activeElement, style = getComputedStyle(e);
			return [e.id || e.dataset.mode || e.dataset.zoom || e.className || e.tagName,
				e === document.body ? 3 : parseFloat(e.id === 'open' ?
					getComputedStyle(e.parentElement).outlineWidth : style.outlineWidth)];
		})()`);
		assert.ok(width >= 2, `the focus can be seen on ${name}`);
		seen.add(String(name).split(' ')[0]);
	}
	for (const name of ['source', 'open', 'watch', 'compare', 'predict', 'play', 'back', 'next',
		'slider', 'number', 'speed', 'policy', 'link', 'what-if', 'in', 'out', 'all', 'seg'])
		assert.ok(seen.has(name), `${name} is reached: ${[...seen]}`);
}

run(async () => {
	const pages = {};
	for (const policy of ['first_fit', 'quick_fit']) {
		pages[policy] = path.join(folder, `look-${policy}.html`);
		fs.copyFileSync(pageOfText(SMALL, '--policy', policy), pages[policy]);
	}
	pages.labelled = path.join(folder, 'look-labelled.html');
	fs.copyFileSync(pageOfText(SMALL.replace(/^(a \d*[02468] .*)$/gm, '$1 parser')
		.replace(/^(a \d*[37] .*)$/gm, `$1 ${'a%20very%20long%20label'.repeat(3)}`)), pages.labelled);
	const html = pages.first_fit;
	for (const scheme of ['light', 'dark']) {
		suite = await Suite.start(1280, 1000, scheme === 'dark');
		for (const width of WIDTHS[scheme])
			for (const name of Object.keys(VIEWS))
				await suite.test(`${name}, ${width} pixels, ${scheme}`,
					() => testView(pages, name, width, scheme));
		if (scheme === 'light') {
			await suite.test('a wide screen', () => testWide(html));
			await suite.test('the accessibility tree', () => testNames(html));
			await suite.test('the focus', () => testFocus(html));
		}
		await suite.end();
	}
});
