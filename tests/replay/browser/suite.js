/*
 * What the tests of the page share: tests in a headless Chromium, and pages of traces. Calls
 * browser.js; called by timeline.js, usage.js and look.js, which all take the arguments REPLAY, the
 * program mems-replay, FOLDER, where files go, and TRACE....
 */
'use strict';

const assert = require('assert');
const {execFileSync} = require('child_process');
const fs = require('fs');
const path = require('path');
const {Browser} = require('./browser.js');

const [replay, folder, ...traces] = process.argv.slice(2);

/* A split, a merge on each side and on both, a new node, a move, growing and shrinking in place. */
const SMALL = `a 0 1000\na 1 1000\na 2 1000\na 3 1000\na 4 1000\na 5 500\nf 1\na 6 400\nc 7 300
f 3\nf 2\nm 8 100 64\nr 4 1500\na 9 1200\nf 0\nr 5 200\na 10 6000\nf 6\nf 7\na 11 700\nr 11 690
r 11 800\nf 11\nf 8\n`;
const SMALL_CALLS = 24;

let failures = 0;

/* Everything that the tests of a program need. */
class Suite {
	static async start(width, height, isDark) {
		const suite = new Suite();
		suite.browser = await Browser.start(width, height, isDark);
		return suite;
	}

	async test(name, body) {
		const {browser} = this;
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

	get(expression) {
		return this.browser.get(expression);
	}

	text(selector) {
		return this.get(`document.querySelector(${JSON.stringify(selector)}).innerText`);
	}

	/* Is it there, and shown? */
	isShown(selector) {
		return this.get(`Boolean(document.querySelector(${JSON.stringify(selector)})` +
			'?.checkVisibility())');
	}

	call() {
		return this.get('Number(document.getElementById("slider").value)');
	}

	async click(...selectors) {
		for (const selector of selectors)
			await this.browser.click(selector);
	}

	async press(...keys) {
		for (const key of keys)
			await this.browser.press(key);
	}

	/* Types a text into what has the focus. */
	type(text) {
		return this.browser.send('Input.insertText', {text});
	}

	/* Presses Tab until what has the focus matches a selector. */
	async tabTo(selector) {
		for (let i = 0; i < 60; i++) {
			if (await this.get(`document.activeElement.matches(${JSON.stringify(selector)})`))
				return;
			await this.press('Tab');
		}
		assert.fail(`Tab does not lead to ${selector}`);
	}

	async choose(select, value) {
		await this.get(`(() => { const select = document.querySelector(${JSON.stringify(select)});
			select.value = ${JSON.stringify(value)};
			select.dispatchEvent(new Event('change', {bubbles: true})); })()`);
	}

	/* Waits until something is true in the page. */
	async until(expression, what) {
		for (let i = 0; i < 400; i++) {
			if (await this.get(expression))
				return;
			await new Promise(resolve => setTimeout(resolve, 25));
		}
		assert.fail(`it never came: ${what || expression}`);
	}

	open(html, hash = '') {
		return this.browser.open(html, hash);
	}

	async end() {
		await this.browser.stop();
	}
}

/* Writes the page of a trace: its file, and what mems_walk said after its calls. */
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

const pageOfText = (text, ...options) => pageOf(traceOf(text), ...options).html;

/* Runs the tests of a program to the end of it. */
function run(main) {
	main().then(() => process.exit(failures === 0 ? 0 : 1), error => {
		console.log(error.stack);
		console.log('[ RUN      ] the tests came to their end\n[  FAILED  ] they did not');
		process.exit(1);
	});
}

module.exports = {Suite, SMALL, SMALL_CALLS, replay, folder, traces, pageOf, traceOf, pageOfText,
	run};
