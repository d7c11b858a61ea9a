/*
 * The picture of a heap: a row for each main node, with its segments to scale, which can be zoomed.
 * Segments too narrow to be seen are summed up. Depends on engine.js, words.js and story.js.
 */
'use strict';

const MARK_MIN = 6;           /* pixels: narrower segments are summed up */
const SUM_MIN = 14;           /* pixels: from this width on, a new sum begins */
const LETTER = 7.3;           /* pixels, of the addresses and labels */
const SCALE_SHARED_UP_TO = 4; /* the longest row is at most so many times the shortest */
const PIXELS_A_BYTE_MOST = 12;
const ZOOM = 2;               /* a step of the zoom */
const OVERVIEW_HEIGHT = 32;   /* pixels */

const isSum = mark => mark.count > 1;

class HeapMap {
	/*
	 * root: an element that is empty. nameOf(block), calls: as in words.js. rows: how many main
	 * nodes are shown where there are more than rowsMost. choose(from, to): a mark was chosen.
	 */
	constructor(root, {rows, rowsMost, choose, about}) {
		Object.assign(this, {root, rows, rowsMost, choose, about});
		this.heap = null;
		this.width = 0;
		this.firstNode = 0;
		this.windows = new Map(); /* of main nodes that are zoomed: {from, to}, by index */
		this.shown = [];          /* the HTML of each row */
		this.focused = null;      /* the address that was last chosen or focused */
		this.build();
	}

	build() {
		this.root.innerHTML = '<div class="map-bar">' +
			'<span class="zoom" role="group" aria-label="Zoom"><button data-zoom="out" ' +
			'aria-label="Zoom out" title="Zoom out (-)">−</button><button data-zoom="in" ' +
			'aria-label="Zoom in" title="Zoom in (+)">+</button><button data-zoom="all" ' +
			'title="Show the whole main node (0)">Whole</button><button data-zoom="left" ' +
			'aria-label="Move left" title="Move left (Page Up)">◂</button><button ' +
			'data-zoom="right" aria-label="Move right" title="Move right (Page Down)">▸</button>' +
			'</span><span class="soft scale-words"></span></div>' +
			'<div class="nodes-bar" hidden><label class="inline">Main nodes from ' +
			'<input type="range" min="0" value="0" class="first-node"></label>' +
			'<span class="nodes-shown mono soft"></span><label class="inline">' +
			'<input type="checkbox" class="follow" checked> Follow the change</label></div>' +
			'<canvas class="overview" hidden></canvas><div class="rows" role="group" ' +
			`aria-label="${this.about}: segments by address. Arrow keys go from one to the next, ` +
			'plus and minus zoom."></div>';
		this.find = name => this.root.querySelector(`.${name}`);
		this.area = this.find('rows');
		this.listen();
	}

	/* ---- Marks ---- */

	/* The marks of a window of a main node: segments, and sums of neighbours too narrow to see. */
	marks(node, {from, to}, scale) {
		const marks = [];
		let sum = null;
		const flush = () => {
			if (sum)
				marks.push(sum.count === 1 ? sum.first : sum);
			sum = null;
		};
		for (let s = node.first; s && s.start <= to; s = s.next) {
			if (s.start + s.size <= from)
				continue;
			if (s.size * scale >= MARK_MIN) {
				flush();
				marks.push(s);
				continue;
			}
			sum = sum || {first: s, start: s.start, size: 0, count: 0, processes: 0, process: 0,
				others: 0};
			sum.size += s.size;
			sum.count++;
			if (s.kind === PROCESS) {
				sum.processes++;
				sum.process += s.size;
				sum.others += this.isOther(s);
			}
			sum.changed = sum.changed || this.isChanged(s);
			sum.differs = sum.differs || this.isElsewhere(s);
			if (sum.size * scale >= SUM_MIN)
				flush();
		}
		flush();
		return marks;
	}

	isChanged(segment) {
		return this.marked && segment.call === this.heap.calls && segment.call > 0;
	}

	/* Does the block lie elsewhere than in the heap that this one is compared with? */
	isElsewhere(segment) {
		return this.elsewhere !== null && segment.kind === PROCESS &&
			this.elsewhere.has(segment.block);
	}

	/* Has the block another label than the one that is chosen? */
	isOther(segment) {
		return this.label !== null && segment.kind === PROCESS &&
			this.labelOf(segment) !== this.label;
	}

	static sumText(m) {
		return `[${m.start}:${m.start + m.size - 1}]: ${many(m.processes)} PROCESS, ` +
			`${many(m.count - m.processes)} HOLE, ${percent(m.process, m.size)} % in use`;
	}

	/* The longest words about a segment that have room. */
	words(s, width) {
		const hasName = s.kind === PROCESS && s.block >= 0;
		const name = hasName ? ` #${this.nameOf(s.block)}` : '';
		const label = hasName ? this.labelOf(s) : '';
		const type = s.kind === QUICK ? 'remembered' : typeOf(s);
		const kept = keptOf(s) ? `, ${s.remembered} remembered` : '';
		const words = [...(label ? [`${type} ${s.size} ${label}`, `${s.size} ${label}`, label] : []),
			`${type} ${s.size}${name}${kept}`, `${type} ${s.size}${name}`,
			`${s.size}${name}`, name.trim(), String(s.size)];
		const sign = this.isElsewhere(s) ? '≠ ' : '';
		const found = words.find(w => w && (sign + w).length * LETTER + 8 <= width);
		return found ? sign + found : sign.length * LETTER < width ? sign.trim() : '';
	}

	describe(mark) {
		const order = this.orders.get(mark.start);
		const extra = (this.changedOf(mark) ? ', changed' : '') +
			(order && !isSum(mark) ? `, looked at: number ${order.order}, ${order.verdict}` : '') +
			(this.differsOf(mark) ? `, elsewhere than under ${this.elsewhereName}` : '') +
			(this.otherOf(mark) ? ', of another label' : '');
		if (isSum(mark))
			return `${HeapMap.sumText(mark)}, summed up${extra}`;
		const name = mark.kind === PROCESS && mark.block >= 0 ?
			`, ${blockText(this.nameOf(mark.block), this.labelOf(mark))}` : '';
		return `${textOf(mark)}, ${bytes(mark.size)}${name}` +
			`${mark.kind === QUICK ? ', remembered' : ''}` +
			`${keptOf(mark) ? `, of which ${many(mark.remembered)} are remembered` : ''}${extra}`;
	}

	changedOf(mark) {
		return isSum(mark) ? mark.changed : this.isChanged(mark);
	}

	differsOf(mark) {
		return isSum(mark) ? mark.differs : this.isElsewhere(mark);
	}

	otherOf(mark) {
		return isSum(mark) ? mark.others > 0 && mark.others === mark.processes : this.isOther(mark);
	}

	markHtml(mark, window, scale, width) {
		const end = mark.start + mark.size - 1;
		const left = Math.max(0, (mark.start - window.from) * scale);
		const right = Math.min(width, (end + 1 - window.from) * scale);
		const wide = Math.max(1, right - left - (isSum(mark) ? 0 : 1));
		const look = isSum(mark) ? 'mixed' : lookOf(mark);
		const changed = this.changedOf(mark), order = isSum(mark) ? null :
			this.orders.get(mark.start);
		const chosen = this.chosen !== null && mark.start <= this.chosen && this.chosen <= end;
		const asked = !isSum(mark) && mark.kind === PROCESS && mark.block === this.asked;
		const classes = `seg ${isSum(mark) ? look : classesOf(mark)}${changed ? ' changed' : ''}${chosen ? ' selected' : ''}` +
			`${this.differsOf(mark) ? ' differs' : ''}${asked ? ' asked' : ''}` +
			`${this.otherOf(mark) ? ' other' : ''}`;
		const full = isSum(mark) ? `;--full:${percent(mark.process, mark.size)}%` :
			styleOf(mark);
		const shown = isSum(mark) ? '' : this.words(mark, wide);
		return `<button class="${classes}" tabindex="-1" data-start="${mark.start}" ` +
			`data-end="${end}" data-look="${look}" ` +
			`data-remembered="${mark.remembered || 0}" aria-label="${escapeHtml(this.describe(mark))}" ` +
			`style="left:${left.toFixed(2)}px;width:${wide.toFixed(2)}px${full}">` +
			`${shown ? `<span>${escapeHtml(shown)}</span>` : ''}</button>` +
			(changed && !isSum(mark) && !order ?
				`<i class="pointer" style="left:${(left + wide / 2).toFixed(1)}px"></i>` : '') +
			(order ? `<i class="order${order.verdict === 'taken' ? ' taken' : ''}" aria-hidden="true" ` +
				`style="left:${left.toFixed(1)}px">${order.order}</i>` : '');
	}

	/* ---- Rows ---- */

	window(node) {
		return this.windows.get(node.index) || {from: node.start, to: node.end};
	}

	rowHtml(node, width, wholeScale) {
		const window = this.window(node);
		const isZoomed = this.windows.has(node.index);
		const scale = isZoomed ? width / (window.to - window.from + 1) : wholeScale;
		let free = 0, html = '', segments = 0;
		for (let s = node.first; s; s = s.next)
			segments++;
		for (const mark of this.marks(node, window, scale)) {
			html += this.markHtml(mark, window, scale, width);
			const left = Math.max(0, (mark.start - window.from) * scale);
			const address = String(mark.start);
			if (mark.start >= window.from && left >= free &&
				left + address.length * LETTER <= width) {
				html += `<span class="address" aria-hidden="true" ` +
					`style="left:${left.toFixed(1)}px">${address}</span>`;
				free = left + (address.length + 1) * LETTER;
			}
		}
		const physical = this.physicalOf(node.start);
		const part = isZoomed ? `, shown from ${Math.ceil(window.from)} to ` +
			`${Math.floor(window.to)}` : '';
		const label = `Main node ${node.index}, [${node.start}:${node.end}]` +
			`${physical ? `, physical ${physical}` : ''}, ${plural(segments, 'segment')}${part}`;
		return `<div class="name" aria-hidden="true"><b>Main node ${node.index}</b> ` +
			`<span class="mono">${node.start}–${node.end}</span> ` +
			(physical ? `<span class="mono soft">${physical}</span> ` : '') +
			(isZoomed ? `<span class="zoomed">zoomed: ${Math.ceil(window.from)}–` +
				`${Math.floor(window.to)}</span>` : '') +
			`</div><div class="bar" data-node="${node.index}" data-label="${label}">${html}</div>`;
	}

	nodesShown() {
		const {nodes} = this.heap;
		if (nodes.length <= this.rowsMost)
			return nodes;
		const from = Math.max(0, Math.min(this.firstNode, nodes.length - this.rows));
		return nodes.slice(from, from + this.rows);
	}

	/* How wide the bars are: known from one that is there, until redraw. */
	barWidth() {
		if (this.width > 0)
			return this.width;
		if (!this.area.querySelector('.bar')) {
			this.area.innerHTML = '<div class="row"><div class="name"></div>' +
				'<div class="bar"></div></div>';
			this.shown = [''];
		}
		this.width = this.area.querySelector('.bar').clientWidth;
		return this.width;
	}

	drawRows() {
		const nodes = this.nodesShown();
		const hadFocus = this.area.contains(document.activeElement) ?
			Number(document.activeElement.dataset.start) : null;
		if (!nodes.length) {
			this.area.innerHTML = '<p>The heap is empty: it has no main node yet.</p>';
			this.shown = [];
			this.find('map-bar').hidden = true;
			return;
		}
		this.find('map-bar').hidden = false;
		const width = this.barWidth();
		const size = node => node.end - node.start + 1;
		const longest = Math.max(...nodes.map(size));
		this.isShared = longest <= SCALE_SHARED_UP_TO * Math.min(...nodes.map(size));
		this.sayScale(nodes);
		const rows = nodes.map(node =>
			this.rowHtml(node, width, width / (this.isShared ? longest : size(node))));
		this.put(rows);
		this.keepFocus(hadFocus);
	}

	/* Puts the rows in place, but those that are there already. */
	put(rows) {
		while (this.area.children.length > rows.length)
			this.area.lastElementChild.remove();
		while (this.area.children.length < rows.length)
			this.area.appendChild(document.createElement('div'));
		rows.forEach((html, i) => {
			const row = this.area.children[i];
			if (html === this.shown[i] && row.className === 'row')
				return;
			row.className = 'row';
			row.setAttribute('role', 'group');
			row.innerHTML = html;
			row.setAttribute('aria-label', row.lastElementChild.dataset.label);
		});
		this.shown = rows;
	}

	/* One mark can be reached with Tab: the one that had the focus, or is of interest. */
	keepFocus(hadFocus) {
		const home = (hadFocus !== null && this.markAt(hadFocus)) ||
			this.area.querySelector('.selected, .asked') || this.area.querySelector('.changed') ||
			this.area.querySelector('.seg');
		for (const mark of this.area.querySelectorAll('.seg[tabindex="0"]'))
			mark.tabIndex = -1;
		if (!home)
			return;
		home.tabIndex = 0;
		if (hadFocus !== null)
			home.focus({preventScroll: true});
	}

	sayScale(nodes) {
		const zoomed = nodes.filter(node => this.windows.has(node.index));
		const scale = nodes.length < 2 ? 'Drawn to scale' : this.isShared ?
			'All main nodes are drawn to one scale' : 'Each main node is drawn to a scale of its own';
		this.find('scale-words').textContent = zoomed.length === 0 ? `${scale}.` :
			`${scale}, but ${zoomed.map(node => `main node ${node.index}`).join(', ')}, zoomed.`;
	}

	markAt(address) {
		return [...this.area.querySelectorAll('.seg')].find(b =>
			Number(b.dataset.start) <= address && address <= Number(b.dataset.end));
	}

	/* ---- The bar of the whole heap, for heaps with more main nodes than are shown ---- */

	drawOverview() {
		const {nodes} = this.heap;
		const isNeeded = nodes.length > this.rowsMost;
		const canvas = this.find('overview');
		this.find('nodes-bar').hidden = canvas.hidden = !isNeeded;
		if (!isNeeded)
			return;
		const shown = this.nodesShown();
		const slider = this.find('first-node');
		const words = `${shown[0].index}–${shown[shown.length - 1].index} of ${nodes.length}`;
		slider.max = nodes.length - this.rows;
		slider.value = shown[0].index;
		slider.setAttribute('aria-valuetext', words);
		this.find('nodes-shown').textContent = words;
		this.paintOverview(canvas, shown[0].start, shown[shown.length - 1].end);
	}

	/* How much of each column of pixels is in use. */
	fullness(width) {
		const {heap} = this;
		const full = new Float64Array(width + 1);
		const scale = width / heap.mapped;
		const add = s => {
			let at = (s.start - heap.options.start) * scale;
			const stop = at + s.size * scale;
			for (let cell = Math.floor(at); at < stop; at = ++cell)
				full[cell] += Math.min(stop, cell + 1) - at;
		};
		for (const node of heap.nodes) /* as heap.walk, which takes three times as long */
			for (let s = node.first; s; s = s.next)
				if (s.kind === PROCESS)
					add(s);
		return full;
	}

	/* A colour of the style; asked for only once, as the answer may take long. */
	static colour(name) {
		const scheme = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
		const key = `${name} ${scheme}`;
		if (!HeapMap.colours.has(key))
			HeapMap.colours.set(key, getComputedStyle(document.documentElement)
				.getPropertyValue(name).trim());
		return HeapMap.colours.get(key);
	}

	paintOverview(canvas, from, to) {
		const colour = HeapMap.colour;
		const width = canvas.width = this.width;
		const height = canvas.height = OVERVIEW_HEIGHT;
		const pen = canvas.getContext('2d');
		const {mapped, options} = this.heap;
		pen.fillStyle = colour('--hole-line');
		pen.fillRect(0, 0, width, height);
		pen.fillStyle = colour('--process');
		pen.beginPath();
		pen.moveTo(0, height);
		this.fullness(width).forEach((full, x) => {
			pen.lineTo(x, height * (1 - full));
			pen.lineTo(x + 1, height * (1 - full));
		});
		pen.lineTo(width, height);
		pen.fill();
		pen.strokeStyle = colour('--mark');
		pen.lineWidth = 3;
		const left = (from - options.start) / mapped * width;
		pen.strokeRect(left, 1.5, Math.max(4, (to - from + 1) / mapped * width), height - 3);
	}

	/* ---- Zooming ---- */

	/* The main node that zooming is about: of the mark that has the focus, or is of interest. */
	zoomNode() {
		const mark = this.area.querySelector('.seg:focus') ||
			(this.focused !== null && this.markAt(this.focused)) ||
			this.area.querySelector('.selected') || this.area.querySelector('.changed') ||
			this.area.querySelector('.seg');
		const bar = mark && mark.closest('.bar');
		return bar && {node: this.heap.nodes[Number(bar.dataset.node)], mark,
			width: bar.clientWidth};
	}

	/* Shows so many bytes of a main node, with an address at a part of the width. */
	showWindow(node, length, address, part, width) {
		const whole = node.end - node.start + 1;
		const wide = Math.max(length, width / PIXELS_A_BYTE_MOST);
		if (wide >= whole) {
			this.windows.delete(node.index);
		} else {
			const from = Math.max(node.start, Math.min(node.end + 1 - wide, address - wide * part));
			this.windows.set(node.index, {from, to: from + wide - 1});
		}
		this.drawRows();
	}

	zoom(what) {
		const about = this.zoomNode();
		if (!about)
			return;
		const {node, mark, width} = about;
		const {from, to} = this.window(node);
		const length = to - from + 1;
		const start = Math.max(from, Number(mark.dataset.start));
		const middle = (start + Math.min(to, Number(mark.dataset.end)) + 1) / 2;
		const isInside = middle >= from && middle <= to;
		const address = isInside ? middle : (from + to + 1) / 2;
		if (what === 'all')
			this.showWindow(node, Infinity, 0, 0, width);
		else if (what === 'in' || what === 'out')
			this.showWindow(node, what === 'in' ? length / ZOOM : length * ZOOM, address, .5, width);
		else
			this.showWindow(node, length, from + length * (what === 'left' ? -.5 : .5), 0, width);
	}

	/* The wheel with Ctrl, at the pointer. */
	wheel(event) {
		const bar = event.target.closest('.bar');
		if (!bar || !event.ctrlKey)
			return;
		event.preventDefault();
		const node = this.heap.nodes[Number(bar.dataset.node)];
		const {from, to} = this.window(node);
		const part = (event.clientX - bar.getBoundingClientRect().left) / bar.clientWidth;
		const length = to - from + 1;
		this.showWindow(node, event.deltaY < 0 ? length / ZOOM : length * ZOOM,
			from + length * part, part, bar.clientWidth);
	}

	/* A zoomed main node follows the pointer. */
	drag(event) {
		if (!this.dragged || !(event.buttons & 1))
			return;
		const {node, x, from, to, width} = this.dragged;
		if (Math.abs(event.clientX - x) > 4)
			this.dragged.isMoved = true;
		if (this.dragged.isMoved)
			this.showWindow(node, to - from + 1,
				from - (event.clientX - x) / width * (to - from + 1), 0, width);
	}

	dragBegin(event) {
		const bar = event.target.closest('.bar');
		const node = bar && this.heap.nodes[Number(bar.dataset.node)];
		this.dragged = node && this.windows.has(node.index) ?
			{node, x: event.clientX, ...this.window(node), width: bar.clientWidth} : null;
	}

	/* Brings an address into the window of its main node, where that is zoomed. */
	reveal(address) {
		const node = this.heap.nodes[nodeIndexAt(this.heap, address)];
		const window = node && this.windows.get(node.index);
		if (!window || (address >= window.from && address <= window.to))
			return;
		const wide = window.to - window.from + 1;
		const from = Math.max(node.start, Math.min(node.end + 1 - wide, address - wide / 3));
		this.windows.set(node.index, {from, to: from + wide - 1});
	}

	/* ---- Drawing ---- */

	/*
	 * Draws a heap. show: {nameOf, physicalOf, marked: are the changes of the last call marked,
	 * target: the address that the last call was about, or null; looks: of the search; chosen: an
	 * address; asked: a block; elsewhere: a set of blocks, or null; elsewhereName; labelOf(segment);
	 * label: whose blocks stand out, or null}.
	 */
	draw(heap, show) {
		Object.assign(this, {chosen: null, asked: -1, elsewhere: null, marked: true,
			physicalOf: () => '', elsewhereName: '', labelOf: () => '', label: null}, show, {heap});
		this.orders = new Map((show.looks || []).map(look => [look.start, look]));
		for (const index of [...this.windows.keys()])
			if (index >= heap.nodes.length)
				this.windows.delete(index);
		if (show.target && this.find('follow').checked) {
			const index = nodeIndexAt(heap, show.target);
			if (this.firstNode > index || this.firstNode + this.rows <= index)
				this.firstNode = Math.max(0, index - (this.rows >> 1));
			this.reveal(show.target);
		}
		this.drawRows();
		this.drawOverview();
	}

	/* Draws the same again, as wide as it is now. */
	redraw() {
		this.width = 0;
		if (this.heap) {
			this.drawRows();
			this.drawOverview();
		}
	}

	showFrom(index) {
		this.firstNode = Math.max(0, Math.min(index, this.heap.nodes.length - this.rows));
		this.find('follow').checked = false;
		this.redraw();
	}

	/* ---- Acting ---- */

	/* Arrow keys: to the next segment, or to the row above or below. */
	moveFocus(key) {
		const here = document.activeElement;
		const all = [...this.area.querySelectorAll('.seg')];
		const index = all.indexOf(here);
		const rows = [...this.area.children];
		const row = rows.indexOf(here.closest('.row'));
		let to = {ArrowRight: all[index + 1], ArrowLeft: all[index - 1], Home: all[0],
			End: all[all.length - 1]}[key];
		if (key === 'ArrowDown' || key === 'ArrowUp') {
			const other = rows[row + (key === 'ArrowDown' ? 1 : -1)];
			to = other && other.querySelector('.seg');
		}
		if ((key === 'ArrowRight' || key === 'ArrowLeft') && this.pan(here, key))
			return;
		if (!to)
			return;
		here.tabIndex = -1;
		to.tabIndex = 0;
		to.focus();
	}

	/* In a zoomed row: goes to the neighbour where it is out of the window. */
	pan(here, key) {
		const node = this.heap.nodes[Number(here.closest('.bar').dataset.node)];
		const window = this.windows.get(node.index);
		const address = key === 'ArrowRight' ? Number(here.dataset.end) + 1 :
			Number(here.dataset.start) - 1;
		if (!window || address < node.start || address > node.end ||
			(address >= window.from && address <= window.to))
			return false;
		this.reveal(address);
		this.drawRows();
		const mark = this.markAt(address);
		if (mark) {
			mark.tabIndex = 0;
			mark.focus();
		}
		return true;
	}

	/* A key on a mark: was it one of those that the map knows? */
	key(event) {
		const {key} = event;
		const zooms = {'+': 'in', '=': 'in', '-': 'out', '0': 'all', PageUp: 'left',
			PageDown: 'right'};
		if (zooms[key])
			this.zoom(zooms[key]);
		else if (key.startsWith('Arrow') || key === 'Home' || key === 'End')
			this.moveFocus(key);
		else
			return false;
		event.preventDefault();
		return true;
	}

	listen() {
		this.root.addEventListener('click', event => {
			const zoom = event.target.closest('[data-zoom]');
			if (zoom)
				this.zoom(zoom.dataset.zoom);
		});
		this.area.addEventListener('click', event => {
			const mark = event.target.closest('.seg');
			if (mark && !(this.dragged && this.dragged.isMoved)) {
				this.focused = Number(mark.dataset.start);
				this.choose(this.focused, Number(mark.dataset.end), this);
			}
		});
		this.area.addEventListener('dblclick', () => this.zoom('in'));
		this.area.addEventListener('wheel', event => this.wheel(event), {passive: false});
		this.area.addEventListener('pointerdown', event => this.dragBegin(event));
		this.area.addEventListener('pointermove', event => this.drag(event));
		this.area.addEventListener('focusin', event => {
			if (event.target.dataset.start)
				this.focused = Number(event.target.dataset.start);
		});
		this.find('first-node').addEventListener('input', event =>
			this.showFrom(Number(event.target.value)));
		this.find('follow').addEventListener('change', () => this.redraw());
		this.find('overview').addEventListener('click', event => {
			const box = event.target.getBoundingClientRect();
			const part = Math.max(0, Math.min(.9999, (event.clientX - box.left) / box.width));
			const {options, mapped} = this.heap;
			this.showFrom(nodeIndexAt(this.heap, options.start + part * mapped) - (this.rows >> 1));
		});
	}
}

HeapMap.colours = new Map();
