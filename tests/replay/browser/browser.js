/*
 * Drives a headless Chromium through the DevTools protocol, over its pipe: no network, and nothing
 * but Node's own modules.
 */
'use strict';

const {spawn} = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');

const FLAGS = [
	'--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--hide-scrollbars',
	'--disable-background-networking', '--disable-dev-shm-usage', '--force-color-profile=srgb',
	'--remote-debugging-pipe',
];

class Browser {
	/* Starts a browser with one empty page of this size. */
	static async start(width, height, isDark) {
		const browser = new Browser();
		browser.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'browser-'));
		browser.process = spawn('chromium', [...FLAGS, `--user-data-dir=${browser.folder}`], {
			stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
		});
		browser.waiting = new Map();
		browser.count = 0;
		browser.errors = [];
		browser.requests = [];
		browser.listen();
		await browser.openPage(width, height, isDark);
		return browser;
	}

	/* Messages are JSON texts, each ended by a zero byte. */
	listen() {
		let parts = [];
		this.process.stdio[4].on('data', data => {
			for (let end; (end = data.indexOf(0)) >= 0; data = data.subarray(end + 1)) {
				parts.push(data.subarray(0, end));
				this.receive(JSON.parse(Buffer.concat(parts).toString()));
				parts = [];
			}
			parts.push(data);
		});
		this.process.on('exit', () => {
			for (const {reject} of this.waiting.values())
				reject(new Error('the browser has ended'));
		});
	}

	receive(message) {
		if (message.id !== undefined) {
			const {resolve, reject, method} = this.waiting.get(message.id);
			this.waiting.delete(message.id);
			if (message.error)
				reject(new Error(`${method}: ${message.error.message}`));
			else
				resolve(message.result);
			return;
		}
		const {method, params} = message;
		if (method === 'Runtime.exceptionThrown')
			this.errors.push(params.exceptionDetails.exception?.description ||
				params.exceptionDetails.text);
		if (method === 'Runtime.consoleAPICalled' && ['error', 'warning'].includes(params.type))
			this.errors.push(params.args.map(a => a.value || a.description).join(' '));
		if (method === 'Log.entryAdded' && params.entry.level === 'error')
			this.errors.push(`${params.entry.text} ${params.entry.url || ''}`);
		if (method === 'Network.requestWillBeSent')
			this.requests.push(params.request.url);
		if (method === 'Page.loadEventFired' && this.loaded)
			this.loaded();
	}

	send(method, params = {}) {
		const id = ++this.count;
		this.process.stdio[3].write(
			JSON.stringify({id, method, params, sessionId: this.session}) + '\0');
		return new Promise((resolve, reject) => this.waiting.set(id, {resolve, reject, method}));
	}

	async openPage(width, height, isDark) {
		const {targetId} = await this.send('Target.createTarget', {url: 'about:blank'});
		const attached = await this.send('Target.attachToTarget', {targetId, flatten: true});
		this.session = attached.sessionId;
		for (const domain of ['Page', 'Runtime', 'Log', 'Network', 'Accessibility'])
			await this.send(`${domain}.enable`);
		await this.resize(width, height);
		await this.send('Emulation.setEmulatedMedia', {features: [
			{name: 'prefers-reduced-motion', value: 'reduce'},
			{name: 'prefers-color-scheme', value: isDark ? 'dark' : 'light'},
		]});
	}

	resize(width, height, scale = 1) {
		return this.send('Emulation.setDeviceMetricsOverride',
			{width, height, deviceScaleFactor: scale, mobile: false});
	}

	/* Opens a file and waits until it is loaded. Returns how many milliseconds that took. hash: what
	 * follows "#" in its address. */
	async open(file, hash = '') {
		const began = Date.now();
		const loaded = new Promise(resolve => { this.loaded = resolve; });
		await this.send('Page.navigate', {url: 'about:blank'});
		await loaded;
		this.requests.length = 0;
		return this.navigate(file, hash, began);
	}

	async navigate(file, hash, began) {
		const loaded = new Promise(resolve => { this.loaded = resolve; });
		await this.send('Page.navigate',
			{url: `file://${path.resolve(file)}${hash && `#${hash}`}`});
		await loaded;
		return Date.now() - began;
	}

	/* The value of an expression in the page. */
	async get(expression) {
		const {result, exceptionDetails} = await this.send('Runtime.evaluate',
			{expression, returnByValue: true, awaitPromise: true});
		if (exceptionDetails)
			throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
		return result.value;
	}

	async press(key) {
		const codes = {PageUp: 33, PageDown: 34, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39,
			ArrowDown: 40, Home: 36, End: 35, Tab: 9, Enter: 13, ' ': 32};
		const event = {key, code: key === ' ' ? 'Space' : key,
			windowsVirtualKeyCode: codes[key] || key.charCodeAt(0)};
		const letter = key.length === 1 ? key : {Enter: '\r'}[key];
		await this.send('Input.dispatchKeyEvent',
			{type: letter ? 'keyDown' : 'rawKeyDown', text: letter, ...event});
		await this.send('Input.dispatchKeyEvent', {type: 'keyUp', ...event});
	}

	/* Clicks in the middle of what a selector finds first, as a mouse would. */
	async click(selector) {
		const at = await this.get(`(() => {
			const found = document.querySelector(${JSON.stringify(selector)});
			found.scrollIntoView({block: 'center'});
			const box = found.getBoundingClientRect();
			return {x: box.x + box.width / 2, y: box.y + box.height / 2};
		})()`);
		await this.send('Input.dispatchMouseEvent', {type: 'mouseMoved', ...at});
		for (const type of ['mousePressed', 'mouseReleased'])
			await this.send('Input.dispatchMouseEvent', {type, button: 'left', clickCount: 1, ...at});
	}

	/* The names in the accessibility tree, as "role: name". */
	async names() {
		const {nodes} = await this.send('Accessibility.getFullAXTree');
		return nodes.filter(n => !n.ignored && n.name && n.name.value &&
			!n.role.value.endsWith('TextBox'))
			.map(n => `${n.role.value}: ${n.name.value}`);
	}

	/* A picture of the page as a PNG file's bytes. */
	async picture(isWhole) {
		const {data} = await this.send('Page.captureScreenshot',
			{format: 'png', captureBeyondViewport: Boolean(isWhole)});
		return Buffer.from(data, 'base64');
	}

	async stop() {
		const ended = new Promise(resolve => this.process.on('exit', resolve));
		this.session = undefined;
		this.send('Browser.close').catch(() => {});
		await ended;
		fs.rmSync(this.folder, {recursive: true, force: true, maxRetries: 5});
	}
}

module.exports = {Browser};
