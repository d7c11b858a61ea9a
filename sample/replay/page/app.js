/*
 * The page: what is shown, and in which of its four ways. Watch: call by call. Compare: several
 * policies. Predict: questions. Play: calls of one's own. Uses all other scripts.
 */
'use strict';

const $ = id => document.getElementById(id);
const ROWS = 8, ROWS_MOST = 12, LIST_SIDE = 4, LIST_MOST = 40, LABELS_MOST = 50;
const SLICE_MS = 25;  /* of work at a time, while the page can be used */
const WAIT_MS = 120;  /* a jump may take so long; after that its progress is shown */

/* ---- What can be shown ----------------------------------------------------------------------- */

const data = JSON.parse($('history').textContent);
const player = new Player();

/* A list of calls that can be shown: {name, kind, calls, options, recorded, nameOf, ...}. */
class Source {
	constructor(fields) {
		Object.assign(this, {recorded: null, from: 0, notes: new Map(), text: [], mistakes: []},
			fields);
		this.runs = new Map();
	}

	get count() {
		return this.calls.count;
	}

	/* The policy that the calls were made under: "recorded" is the library's own quick fit. */
	get ownPolicy() {
		return this.recorded && this.options.policy === 'quick_fit' ? 'recorded' :
			this.options.policy;
	}

	get policies() {
		return this.ownPolicy === 'recorded' ? ['recorded', ...POLICIES] : POLICIES;
	}

	run(policy) {
		if (!this.runs.has(policy))
			this.runs.set(policy, policy === this.ownPolicy && this.recorded ?
				new Run(this.calls, this.options, this.recorded) :
				new Run(this.calls, {...this.options, policy}));
		return this.runs.get(policy);
	}
}

/* The heap that is played on: the player has its run. */
class PlayedSource extends Source {
	get calls() {
		return player.calls;
	}

	set calls(calls) {}

	get options() {
		return player.options;
	}

	set options(options) {}

	run(policy) {
		return policy === player.options.policy ? player.run : super.run(policy);
	}
}

function recordingSource() {
	const {calls, results} = callsRead(data);
	const ids = data.ids ? idsRead(data.ids) : null;
	const {policy, alignment, start, page, limit} = data;
	const physical = data.nodes.map(([, , address]) => BigInt(address));
	return new Source({
		kind: 'recording', name: data.name.split('/').pop(), calls,
		options: {policy, alignment, start, page, limit},
		recorded: results && {results, nodes: data.nodes, remembered: rememberedRead(data)},
		names: ids || [],
		mistakes: data.mistakes,
		nameOf: block => ids ? ids[block] : String(block),
		physicalOf: (node, address) => !physical[node.index] ? '' :
			`0x${(physical[node.index] + BigInt(address - node.start)).toString(16)}`,
	});
}

/* The calls of a trace that the page reads itself. */
function traceSource(text, kind, nameIt) {
	const trace = traceRead(text);
	const options = {policy: 'first_fit', alignment: 8, start: 1000, page: 4096, limit: 0,
		...trace.options};
	return new Source({kind, name: nameIt(trace.title), calls: trace.calls, options,
		names: trace.names, from: trace.from, notes: trace.notes, text: trace.text,
		mistakes: trace.mistakes,
		nameOf: block => trace.names[block]});
}

const exerciseSources = () => [...document.querySelectorAll('.exercise')].map((element, i) =>
	traceSource(element.textContent, 'exercise', title => `Exercise ${i + 1}: ${title}`));

const played = new PlayedSource({kind: 'played', name: 'Your own calls', names: [],
	nameOf: block => player.nameOf(block)});
const recording = data.name ? recordingSource() : null;
const exercises = exerciseSources();
const sources = [...(recording ? [recording] : []), played, ...exercises];

if (!recording) {
	const {policy, alignment, start, page, limit} = data;
	player.set({policy, alignment, start, page, limit});
}

const view = {
	mode: 'watch', source: sources[0], policy: sources[0].ownPolicy, k: 0,
	compared: ['first_fit', 'best_fit'],
	chosen: null,  /* an address */
	label: null,   /* of blocks that stand out; "" is none, null: all blocks are alike */
	range: null,   /* segments that are summed up */
	asking: false, right: 0, asked: 0, row: 0,
	waiting: -1,   /* the step that is shown as soon as its calls were made */
	timer: 0, worker: 0,
};

const nameOf = block => view.source.nameOf(block);
const labelOf = segment => view.source.calls.ownerAt(segment.call);
const nameText = segment => blockText(nameOf(segment.block), labelOf(segment));
const last = () => view.source.count;
const isComparing = () => view.mode === 'compare';
const runNow = () => view.source.run(view.policy);
const runsNow = () => isComparing() ? view.compared.map(policy => view.source.run(policy)) :
	[runNow()];
const heapNow = () => (isComparing() ? runsNow()[0] : runNow()).at(view.k);

/* The physical address behind a virtual one, where it is known. */
function physicalOf(address) {
	const {source} = view;
	if (!source.physicalOf || isComparing() || view.policy !== source.ownPolicy)
		return '';
	const heap = heapNow();
	return source.physicalOf(heap.nodes[nodeIndexAt(heap, address)], address);
}

/* ---- Drawing --------------------------------------------------------------------------------- */

/* How wide a piece of a strip is drawn: by its size, but small ones can still be read. */
const weight = size => Math.cbrt(size) + 6;

function boxHtml(s, isChanged, borders, whole) {
	let wide = 0;
	for (let i = 1; i < borders.length; i++)
		if (borders[i - 1] >= s.start && borders[i] <= s.end + 1)
			wide += weight(borders[i] - borders[i - 1]);
	return `<div class="box ${classesOf(s)}${isChanged ? '' : ' aside'}" ` +
		`style="width:${wide / whole * 100}%${styleOf(s)}"><span>${typeOf(s)} ${s.size}</span>` +
		`<small><span>${s.start}–${s.end}</span></small></div>`;
}

function stripHtml(one) {
	const ends = new Set([...one.before, ...one.after].flatMap(s => [s.start, s.end + 1]));
	const borders = [...ends].sort((a, b) => a - b);
	let whole = 0;
	for (let i = 1; i < borders.length; i++)
		whole += weight(borders[i] - borders[i - 1]);
	const has = (list, s) => list.some(o => o.start === s.start && o.end === s.end &&
		o.kind === s.kind);
	const line = (list, other) => list.length ? '<div class="chain">' +
		`${list.map(s => boxHtml(s, !has(other, s), borders, whole)).join('')}</div>` :
		`<div class="nothing">${one.note}</div>`;
	return '<div class="strip" role="img" aria-label="' +
		`Before: ${one.before.map(textOf).join(', ') || one.note}. ` +
		`After: ${one.after.map(textOf).join(', ')}.">` +
		`<span>before</span>${line(one.before, one.after)}` +
		`<span>after</span>${line(one.after, one.before)}</div>`;
}

const stripsHtml = strips => strips.map(stripHtml).join('') +
	(strips.length ? '<p class="soft">These two lines are not to scale.</p>' : '');

/* The HOLEs that a search looked at, in its order. */
function looksHtml(search) {
	if (!search || search.looks.length === 0)
		return '';
	const rows = [];
	search.looks.forEach((look, i) => {
		if (i > 0 && look.order !== search.looks[i - 1].order + 1)
			rows.push(`<tr><td colspan="3">… and ${many(search.left)} more</td></tr>`);
		rows.push(`<tr class="${look.verdict === 'taken' ? 'taken' : ''}"><td>${many(look.order)}.</td>` +
			`<td class="mono">${textOf(look)}</td><td>${bytes(look.size)}: ${look.verdict}</td></tr>`);
	});
	return `<table><caption>Looked at ${plural(search.count, 'HOLE')} for ${bytes(search.size)}` +
		`${search.alignment > 1 ? `, aligned to ${search.alignment}` : ''}:</caption>` +
		`${rows.join('')}</table>`;
}

const callNow = k => callText(view.source.calls.get(k), nameOf);

/* What a step gave, in a few words. */
function resultText(k) {
	const {kind, block, owner} = view.source.calls.get(k);
	const result = isComparing() ? 0 : runNow().result[k];
	if (isComparing())
		return '';
	if (result === 0)
		return kind === 'g' ? '' : ' → NULL';
	return kind === 'f' ? ` at ${result}` : ` → ${result}, ${blockText(nameOf(block), owner)}`;
}

function showStep() {
	const {k, source} = view;
	const call = k === 0 ? 'The start' : callNow(k);
	const result = k === 0 ? '' : resultText(k);
	const {label} = k === 0 ? {} : source.calls.get(k);
	const before = last() ? `Before the first of ${plural(last(), 'call')}` : 'Before the first call';
	$('where').textContent = (k ? `Call ${many(k)} of ${many(last())}` : before) +
		(label === undefined ? '' : `, made by ${label}`) +
		(k && k === data.peak && source === recording ? ' (most bytes in use)' : '');
	$('call').innerHTML = `<code>${escapeHtml(call)}</code>${escapeHtml(result)}`;
	$('slider').setAttribute('aria-valuetext', `Call ${k} of ${last()}: ${call}`);
	$('link').href = linkText();
	const told = k === 0 || isComparing() ? null : tell(runNow(), k);
	const lines = told ? told.lines : k === 0 ? [startText()] : [];
	if (!isComparing())
		lines.push(...source.mistakes.filter(([after]) => after === k).map(mistake =>
			mistakeLine(heapNow(), mistake)));
	$('badges').innerHTML = (told ? told.badges : []).map(b => `<span class="badge">${b}</span>`)
		.join('');
	$('why').innerHTML = lines.map(line => `<li>${escapeHtml(line)}</li>`).join('');
	$('why').className = lines.length === 1 ? 'single' : '';
	$('looks').innerHTML = told ? looksHtml(told.search) : '';
	$('strips').innerHTML = told ? stripsHtml(told.strips) : '';
	say(`Call ${k}: ${call}${result}. ${told ? told.badges.join(', ') : ''}. ${lines.join(' ')}`);
	return told;
}

function startText() {
	if (view.source === played && last() === 0)
		return 'The heap is empty: nothing is mapped yet. Type a call, malloc 100 for example.';
	return `${view.source.text.join(' ')} The heap is empty: nothing is mapped yet. Step forward, ` +
		'or let it run.';
}

/* Tells those who do not see the page; not while it runs by itself. */
function say(text) {
	if (!view.timer)
		$('live').textContent = text;
}

function linkText() {
	const parts = [`call=${view.k}`];
	if (view.mode !== 'watch')
		parts.push(`mode=${view.mode}`);
	if (view.source !== sources[0])
		parts.push(`show=${sources.indexOf(view.source)}`);
	if (isComparing())
		parts.push(`policies=${view.compared.join(',')}`);
	else if (view.policy !== view.source.ownPolicy)
		parts.push(`policy=${view.policy}`);
	if (view.label !== null)
		parts.push(`label=${encodeURIComponent(view.label)}`);
	return `#${parts.join('&')}`;
}

const askedBlock = () => view.asking && 'rf'.includes(view.source.calls.kind[view.k]) ?
	view.source.calls.block[view.k] : -1;

function mapShow(told) {
	const target = view.k === 0 ? null : runsNow()[0].result[view.k] || null;
	return {nameOf, labelOf, label: view.label, physicalOf, marked: !view.asking, target: view.asking ? null : target,
		looks: told && told.search && !view.asking ? told.search.looks : [], chosen: view.chosen,
		asked: askedBlock()};
}

function showHeap(told) {
	const heap = heapNow();
	const remembered = heap.rememberedBytes();
	$('heap-line').textContent = `${bytes(heap.mapped)} mapped in ` +
		`${plural(heap.nodes.length, 'main node')}: ` +
		`${many(heap.segments - heap.holes.count - heap.quickBlocks)} PROCESS and ` +
		`${many(heap.shownHoles)} HOLE segments` +
		(remembered ? `; of these, quick fit remembers ${bytes(remembered)}` : '');
	map.draw(heap, mapShow(told));
	const legend = ['<span><i class="key process"></i>PROCESS: in use, #3 is block 3</span>',
		'<span><i class="key hole"></i>HOLE: free</span>'];
	if (heap.options.policy === 'recorded')
		legend.push('<span><i class="key hole kept" style="--kept:50%"></i>HOLE that quick fit ' +
			'remembers in part: as far as it is filled</span>');
	if (heap.options.policy === 'quick_fit')
		legend.push('<span><i class="key quick"></i>free, but remembered by quick fit</span>');
	legend.push('<span><i class="key mixed" style="--full:50%"></i>several, too narrow to be ' +
		'seen: filled as far as they are in use</span>',
		'<span><i class="key changed"></i>changed by this call</span>',
		'<span><i class="order key-number">1</i>HOLE looked at first</span>');
	$('legend').innerHTML = legend.join('');
}

/* ---- One segment, and those around it ---- */

function infoHtml(s) {
	const rows = [
		['Range', `<span class="mono">${s.start}–${endOf(s)}</span>`], ['Size', bytes(s.size)],
		['Main node', `${s.node.index}`],
	];
	const physical = physicalOf(s.start);
	const made = madeText(s, view.source.calls, nameOf);
	if (keptOf(s))
		rows.push(['Remembered', `${bytes(s.remembered)}, for requests of just that size`]);
	if (s.kind === PROCESS)
		rows.push(['Block', escapeHtml(labelOf(s) ? nameText(s) : nameOf(s.block))]);
	if (physical)
		rows.push(['Physical', `<span class="mono">${physical}</span>`]);
	if (made)
		rows.push(['Made by', escapeHtml(made)]);
	return `<h2>${textOf(s)}</h2><dl>${rows.map(([name, value]) =>
		`<dt>${name}</dt><dd>${value}</dd>`).join('')}</dl>${contentsHtml(s)}`;
}

/* What a block holds, where the page knows it: where it wrote it. */
function contentsHtml(s) {
	if (view.source !== played || s.kind !== PROCESS)
		return '';
	const found = player.contents(s.block, view.k);
	const isOpen = $('contents') && $('contents').open;
	return `<details id="contents"${isOpen ? ' open' : ''}><summary>Contents</summary>` +
		`<pre class="dump" tabindex="0" aria-label="Contents of block ${escapeHtml(nameOf(s.block))}">` +
		`${escapeHtml(dumpText(found))}</pre><p class="soft">·· has not been written.</p></details>`;
}

function itemHtml(s, isCurrent) {
	const changed = s.call === view.k && view.k > 0 && !view.asking ? ', changed' : '';
	const name = s.kind === PROCESS ? `, ${nameText(s)}` :
		keptOf(s) ? `, ${many(s.remembered)} remembered` : '';
	return `<li><button data-start="${s.start}" data-end="${endOf(s)}"` +
		`${isCurrent ? ' aria-current="true"' : ''}><i class="${classesOf(s)}" ` +
		`style="${styleOf(s).slice(1)}"></i>` +
		`<b class="mono">${textOf(s)}</b> <span>${bytes(s.size)}${escapeHtml(name)}${changed}</span>` +
		`<span class="soft">${escapeHtml(madeText(s, view.source.calls, nameOf))}</span>` +
		'</button></li>';
}

/* The segment after or before another one, in whichever main node. */
function neighbour(heap, s, isNext) {
	if (isNext ? s.next : s.previous)
		return isNext ? s.next : s.previous;
	return segmentAt(heap, isNext ? endOf(s) + 1 : s.start - 1);
}

/* So many segments around one. */
function chainAround(heap, s, before, after) {
	const found = [s];
	for (let one = s, i = 0; i < before && (one = neighbour(heap, one, false)); i++)
		found.unshift(one);
	for (let one = s, i = 0; i < after && (one = neighbour(heap, one, true)); i++)
		found.push(one);
	return found;
}

/* The segment that the panels are about. */
function segmentNow(heap) {
	const address = view.chosen !== null ? view.chosen : view.k > 0 ? runsNow()[0].result[view.k] : 0;
	return segmentAt(heap, address || heap.options.start);
}

/* The mark or segment that the panels are about. */
function showInfo() {
	const heap = heapNow();
	const s = segmentNow(heap);
	const {range} = view;
	const hadFocus = $('list').contains(document.activeElement) ?
		document.activeElement.dataset.start : null;
	showBlock(s);
	if (!s) {
		$('info').innerHTML = '<h2>A segment</h2><p class="soft">Choose one in the heap.</p>';
		$('list').innerHTML = '';
		return;
	}
	$('info').innerHTML = range ? `<h2>Summed up</h2><p>${HeapMap.sumText(range)}. Its segments are ` +
		'in the list.</p>' : infoHtml(s);
	const shown = range ? chainAround(heap, s, 0, Math.min(range.count, LIST_MOST) - 1) :
		chainAround(heap, s, LIST_SIDE, LIST_SIDE);
	$('list').innerHTML = shown.map(one => itemHtml(one, !range && one === s)).join('') +
		(range && range.count > LIST_MOST ?
			`<li class="soft">and ${many(range.count - LIST_MOST)} more</li>` : '');
	if (range)
		$('list').scrollTop = 0;
	const again = hadFocus && $('list').querySelector(`[data-start="${hadFocus}"]`);
	if (again)
		again.focus({preventScroll: true});
}

/* ---- What is live, by label ---- */

/* The blocks and bytes of each label, the most bytes first. */
function labelsOf(heap) {
	const found = new Map(view.label === null ? [] : [[view.label, {blocks: 0, size: 0}]]);
	for (const node of heap.nodes)
		for (let s = node.first; s; s = s.next) {
			if (s.kind !== PROCESS)
				continue;
			const label = labelOf(s);
			const sum = found.get(label) || {blocks: 0, size: 0};
			sum.blocks++;
			sum.size += s.size;
			found.set(label, sum);
		}
	return [...found].sort(([, a], [, b]) => b.size - a.size);
}

function showLabels() {
	$('labels').hidden = isComparing() || !view.source.calls.hasLabels;
	if ($('labels').hidden)
		return;
	const hadFocus = $('label-table').contains(document.activeElement) ?
		document.activeElement.dataset.label : undefined;
	const all = labelsOf(heapNow());
	const shown = all.filter(([label], i) => i < LABELS_MOST || label === view.label);
	const rows = shown.map(([label, {blocks, size}]) => '<tr><th scope="row">' +
		`<button data-label="${escapeHtml(label)}" aria-pressed="${label === view.label}">` +
		`${escapeHtml(label || 'no label')}</button></th><td>${many(blocks)}</td>` +
		`<td>${many(size)}</td></tr>`);
	if (all.length > shown.length)
		rows.push(`<tr><td colspan="3">and ${many(all.length - shown.length)} more labels</td></tr>`);
	$('label-table').innerHTML = '<table><thead><tr><th scope="col">Label</th><th scope="col">' +
		`Blocks</th><th scope="col">Bytes</th></tr></thead><tbody>${rows.join('')}</tbody></table>`;
	const again = hadFocus !== undefined && [...$('label-table').querySelectorAll('button')].find(
		button => button.dataset.label === hadFocus);
	if (again)
		again.focus({preventScroll: true});
}

/* ---- Bytes over time ---- */

let chartDrawn = '';

/* While questions are asked, the curve ends at this step: it would give the answers away. */
function showChart() {
	const run = runNow();
	const upTo = view.mode === 'predict' ? view.k : run.done;
	const known = `${sources.indexOf(view.source)} ${view.policy} ${upTo} ${last()} ${run.done}`;
	if (known !== chartDrawn || view.source === played) {
		const {html, most} = bytesChart(run, upTo);
		chartDrawn = known;
		$('chart').innerHTML = `<div class="chart" role="img">${html}</div>` +
			`<div class="chart-axis soft mono"><span>call 0</span><span>top: ${bytes(most)}</span>` +
			`<span>call ${many(last())}</span></div>`;
	}
	const process = run.process[view.k], mapped = run.mapped[view.k];
	$('totals').innerHTML =
		`<span><i class="key process"></i>in use: ${many(process)}</span>` +
		`<span><i class="key hole"></i>in HOLEs: ${many(mapped - process)}</span>` +
		`<span><i class="key line"></i>mapped: ${many(mapped)}</span>`;
	const chart = $('chart').querySelector('.chart');
	chart.setAttribute('aria-label', `Bytes over ${plural(last(), 'call')}. At call ` +
		`${many(view.k)}: ${many(process)} in use, ${many(mapped - process)} in HOLEs, ` +
		`${many(mapped)} mapped.`);
	moveCursor(chart, view.k, last());
}

/* ---- All of it ---- */

/* Draws all for the step that is shown. */
function render() {
	const told = showStep();
	if (isComparing()) {
		comparison.draw(runsNow(), view.k, {nameOf, labelOf, label: view.label, marked: true, looks: [],
			chosen: view.chosen});
	} else {
		showHeap(told);
		showChart();
	}
	showLabels();
	showInfo();
	showControls();
}

function showControls() {
	const {k} = view;
	$('slider').max = last();
	$('slider').value = k;
	$('number').max = last();
	if (document.activeElement !== $('number') || Number($('number').value) > last())
		$('number').value = k;
	$('first').disabled = $('back').disabled = k === 0;
	$('next').disabled = $('last').disabled = k === last() && view.mode !== 'predict';
	if (view.source === played)
		introduce();
	showPlay();
}

/* ---- Going to a step ------------------------------------------------------------------------- */

/* Are the calls made, up to a step, or can they be so at once? */
function isReady(k) {
	const deadline = performance.now() + WAIT_MS;
	return runsNow().every(run => run.advance(k, deadline));
}

/* Shows a step. */
function go(k) {
	k = Math.max(0, Math.min(last(), Math.round(k) || 0));
	stopAsking();
	$('verdict').hidden = true;
	view.chosen = view.range = null;
	hideTip();
	if (isReady(k)) {
		view.waiting = -1;
		view.k = k;
		render();
	} else {
		view.waiting = k;
	}
	work();
}

/* Makes calls in small slices, so that the page can be used meanwhile. */
function work() {
	clearTimeout(view.worker);
	const open = runsNow().filter(run => !run.isDone);
	showWorking(open);
	if (open.length === 0)
		return;
	view.worker = setTimeout(() => {
		const deadline = performance.now() + SLICE_MS;
		open.reduce((least, run) => run.done < least.done ? run : least).advance(Infinity, deadline);
		if (view.waiting >= 0 && runsNow().every(run => run.done >= view.waiting))
			go(view.waiting);
		else if (open.every(run => run.isDone))
			render();
		work();
	}, 0);
}

function showWorking(open) {
	const runs = runsNow();
	const isShown = open.length > 0 && (view.waiting >= 0 || last() > 1000);
	$('working').hidden = !isShown;
	if (!isShown)
		return;
	const part = runs.reduce((sum, run) => sum + run.done, 0) / (runs.length * last());
	$('progress').value = part;
	$('working-words').textContent = `${Math.floor(part * 100)} % of the calls are made` +
		(view.waiting >= 0 ? `, on the way to call ${many(view.waiting)}` : '');
}

function next() {
	if (view.mode === 'predict')
		return askNext();
	if (view.k === last())
		return pause();
	go(view.k + 1);
}

function pause() {
	clearInterval(view.timer);
	view.timer = 0;
	$('play').textContent = 'Run';
}

function play() {
	if (view.timer)
		return pause();
	if (view.mode === 'predict')
		return;
	if (view.k === last())
		go(0);
	$('play').textContent = 'Pause';
	view.timer = setInterval(next, Number($('speed').value));
}

/* ---- Predicting ------------------------------------------------------------------------------ */

/* Asks about the next call that can be asked for. */
function askNext() {
	const run = runNow();
	let number = view.k + 1;
	while (number <= last() && !canAsk(run, number))
		number++;
	if (number > last())
		return askEnd();
	if (number > view.k + 1)
		go(number - 1);
	ask(number);
}

function ask(number) {
	const {title, hint, choices} = question(runNow(), number, nameOf);
	view.asking = true;
	document.body.classList.add('predicting');
	$('verdict').hidden = true;
	$('step').hidden = true;
	$('prompt').hidden = false;
	$('exercise-note').textContent = (view.source.notes.get(number) || []).join(' ');
	$('question').textContent = title;
	$('hint').textContent = hint;
	$('choices').innerHTML = choices.map(({type, text}, i) =>
		`<button data-type="${type}"><kbd>${i + 1}</kbd> ${text}</button>`).join('');
	render();
	$('question').focus();
}

function stopAsking() {
	view.asking = false;
	document.body.classList.remove('predicting');
	$('prompt').hidden = true;
	$('step').hidden = false;
}

function answer(given) {
	const number = view.k + 1;
	const {isRight, why} = judge(runNow(), number, given);
	view.asked++;
	view.right += isRight;
	view.row = isRight ? view.row + 1 : 0;
	go(number);
	showVerdict(isRight ? 'right' : 'wrong', isRight ? '✓ Right.' : '✗ Wrong.', why);
}

function showVerdict(look, word, why) {
	$('verdict').hidden = false;
	$('verdict-text').innerHTML = `<div class="verdict ${look}"><strong>${word}</strong> ` +
		`${escapeHtml(why)}</div>`;
	$('score').textContent = `${view.right} of ${view.asked} right` +
		(view.row > 2 ? `, ${view.row} in a row` : '');
	$('next-question').textContent = view.k < last() ? 'Next question' : 'To the end';
	$('next-question').focus();
	say(`${word} ${why} ${$('score').textContent}. ${tell(runNow(), view.k).lines.join(' ')}`);
}

function askEnd() {
	stopAsking();
	const index = exercises.indexOf(view.source);
	const isMore = index >= 0 && index + 1 < exercises.length;
	$('verdict').hidden = false;
	$('verdict-text').innerHTML = '<p><strong>That was the last call.</strong></p>';
	$('score').textContent = `${view.right} of ${view.asked} right`;
	$('next-question').textContent = isMore ? 'Next exercise' : 'From the start';
	$('next-question').focus();
}

function afterVerdict() {
	const index = exercises.indexOf(view.source);
	if (view.k < last())
		askNext();
	else if ($('next-question').textContent === 'To the end')
		askEnd();
	else if (index >= 0 && index + 1 < exercises.length)
		showSource(exercises[index + 1], 'predict');
	else
		showSource(view.source, 'predict');
}

/* The begin of an exercise, or of any calls that are asked for. */
function predictFrom(k) {
	const {source} = view;
	view.right = view.asked = view.row = 0;
	go(k);
	if (source.kind === 'exercise') {
		$('verdict').hidden = false;
		$('verdict-text').innerHTML = `<h2>${escapeHtml(source.name)}</h2>` +
			`<p>${escapeHtml(source.text.join(' '))}</p>`;
		$('score').textContent = plural(source.count - source.from, 'question');
		$('next-question').textContent = 'Begin';
	}
}

/* ---- Playing --------------------------------------------------------------------------------- */

/* Shows what can be done in the play panel. */
function showPlay() {
	if (view.mode !== 'play')
		return;
	$('undo').disabled = player.done.length === 0;
	$('redo').disabled = player.undone.length === 0;
	$('export').href = 'data:text/plain;charset=utf-8,' +
		encodeURIComponent(traceWrite(player.run, player.options));
	const {alignment, page, limit, start} = player.options;
	for (const [id, value] of Object.entries({alignment, page, limit, start}))
		if (document.activeElement !== $(`set-${id}`))
			$(`set-${id}`).value = value;
}

/* The buttons for the block that is chosen. */
function showBlock(s) {
	const isBlock = view.mode === 'play' && s !== null && s.kind === PROCESS;
	const hadFocus = $('play-block').contains(document.activeElement) ?
		document.activeElement.dataset.act : null;
	$('play-block').hidden = !isBlock;
	if (!isBlock) {
		if (hadFocus)
			$('typed').focus();
		return;
	}
	const name = escapeHtml(nameOf(s.block));
	$('play-block').dataset.block = nameOf(s.block);
	$('play-block').innerHTML = `<span>Block ${name}:</span> <button data-act="free">Free</button>` +
		`<button data-act="realloc">Resize to</button> <input type="number" min="1" value="${s.size}" ` +
		'aria-label="New size"> <button data-act="write">Write</button> ' +
		'<input class="text" value="hello" size="8" aria-label="Text to write">';
	const again = hadFocus && $('play-block').querySelector(`[data-act="${hadFocus}"]`);
	if (again)
		again.focus();
}

/* Makes a call that was typed or clicked. */
function act(text) {
	$('typed-fault').textContent = '';
	try {
		go(player.act(player.read(text, view.k), view.k));
		played.runs.clear();
		return true;
	} catch (error) {
		$('typed-fault').textContent = error.message;
		return false;
	}
}

function actOnBlock(button) {
	const {block} = $('play-block').dataset;
	const input = button.nextElementSibling;
	const texts = {free: `free ${block}`, realloc: `realloc ${block} ${input && input.value}`,
		write: `write ${block} ${$('play-block').querySelector('.text').value}`};
	const chosen = view.chosen;
	if (!act(texts[button.dataset.act]))
		return;
	if (button.dataset.act === 'write') {
		view.chosen = chosen;
		showInfo();
		if ($('contents'))
			$('contents').open = true;
	}
}

/* Calls of one's own from here on, after those that led here. */
function whatIf() {
	const {source, k, policy} = view;
	const options = {...source.options, policy: policy === 'recorded' ? 'quick_fit' : policy};
	player.reset(Calls.from(source.calls, k), options, source.kind === 'played' ? player.names :
		source.names);
	showSource(played, 'play', k);
	$('typed').focus();
}

function setOptions(options) {
	player.set(options);
	played.runs.clear();
	view.policy = player.options.policy;
	go(Math.min(view.k, last()));
}

/* Reads a setting of the heap that is played on; what is not allowed is put back. */
function settingChanged(id) {
	const value = Number($(`set-${id}`).value);
	const isGood = Number.isInteger(value) && (id === 'limit' ? value >= 0 : value >= 1) &&
		value <= (id === 'start' ? START_MOST : SIZE_MOST);
	if (isGood)
		setOptions({[id]: value});
	else
		$(`set-${id}`).value = player.options[id];
}

/* ---- Ways to look ---------------------------------------------------------------------------- */

function showPolicies() {
	const {source, mode} = view;
	const policies = source.policies.filter(p => mode !== 'predict' || p !== 'recorded');
	if (!policies.includes(view.policy))
		view.policy = policies[0];
	$('policy').innerHTML = policies.map(policy => `<option value="${policy}">` +
		`${POLICY_NAMES[policy]}</option>`).join('');
	$('policy').value = view.policy;
	$('compare-choice').innerHTML = source.policies.map(policy => '<label class="inline">' +
		`<input type="checkbox" value="${policy}"${view.compared.includes(policy) ? ' checked' : ''}>` +
		`${POLICY_NAMES[policy]}</label>`).join('');
}

/* Two to four policies are compared: one more or one less. */
function chooseCompared(policy, isChosen) {
	const {compared, source} = view;
	const all = isChosen ? [...compared, policy] : compared.filter(p => p !== policy);
	if (all.length >= COMPARED_LEAST && all.length <= COMPARED_MOST)
		view.compared = source.policies.filter(p => all.includes(p));
	for (const box of $('compare-choice').querySelectorAll('input')) {
		box.checked = view.compared.includes(box.value);
		box.disabled = box.checked ? view.compared.length === COMPARED_LEAST :
			view.compared.length === COMPARED_MOST;
	}
}

function showMode(mode) {
	pause();
	stopAsking();
	view.mode = mode;
	if (mode === 'play' && view.source !== played)
		view.source = played;
	if (view.source === played)
		view.policy = player.options.policy;
	view.compared = view.compared.filter(p => view.source.policies.includes(p));
	document.body.classList.toggle('comparing', mode === 'compare');
	for (const button of document.querySelectorAll('nav button'))
		if (button.dataset.mode === mode)
			button.setAttribute('aria-current', 'page');
		else
			button.removeAttribute('aria-current');
	$('play-panel').hidden = mode !== 'play';
	$('heap').hidden = $('bytes').hidden = mode === 'compare';
	$('details').hidden = mode === 'compare';
	$('compare').hidden = mode !== 'compare';
	$('policy-label').hidden = mode === 'compare';
	$('play').disabled = mode === 'predict';
	$('what-if').hidden = mode === 'play';
	$('source').value = sources.indexOf(view.source);
	showPolicies();
	chooseCompared('', false);
	if (mode === 'compare')
		comparison.build(view.compared);
	introduce();
}

/* Shows other calls, or the same in another way. */
function showSource(source, mode, k) {
	view.source = source;
	view.policy = source.ownPolicy;
	view.label = null;
	showMode(mode);
	if (mode === 'predict')
		predictFrom(k === undefined ? source.from : k);
	else
		go(k === undefined ? 0 : k);
}

function introduce() {
	const {source} = view;
	const {alignment, page, start, limit} = source.options;
	const isHeap = source.kind === 'recording' || source.kind === 'opened';
	$('title').textContent = isHeap ? `The heap of ${source.name}` :
		source.kind === 'played' ? 'A heap to play on' : source.name;
	document.title = `MeMS: ${source.name}`;
	$('about').textContent = `${plural(source.count, 'call')}, ` +
		`${source.ownPolicy === 'recorded' ? 'quick fit' : POLICY_NAMES[source.ownPolicy]}, ` +
		`alignment ${alignment}, pages of ${many(page)} bytes, addresses from ${start}` +
		`${limit ? `, limit ${bytes(limit)}` : ''}.`;
	$('shortened').hidden = source !== recording || data.all === source.count;
	$('shortened').textContent = `The trace is very long: this page has the first ` +
		`${many(source.count)} of its ${many(data.all)} calls.`;
}

/* ---- Acting ---------------------------------------------------------------------------------- */

/* A segment or a sum was clicked, tapped, or chosen with the keyboard. */
function choose(from, to, where) {
	const {heap} = where;
	if (view.asking) {
		if (question(runNow(), view.k + 1, nameOf).isPlace)
			answer({type: 'hole', from, to});
		return;
	}
	const s = segmentAt(heap, from);
	view.chosen = from;
	view.range = to > endOf(s) ? rangeOf(heap, s, from, to) : null;
	if (isComparing()) {
		for (const one of comparison.maps) {
			one.chosen = from;
			one.redraw();
		}
		return;
	}
	map.chosen = from;
	map.drawRows();
	showInfo();
}

/* What is summed up in a mark. */
function rangeOf(heap, s, from, to) {
	const range = {start: from, size: to - from + 1, count: 0, processes: 0, process: 0};
	for (let one = s; one && one.start <= to; one = one.next) {
		range.count++;
		if (one.kind === PROCESS) {
			range.processes++;
			range.process += one.size;
		}
	}
	return range;
}

function hideTip() {
	$('tip').hidden = true;
}

function showTip(button, x, y, where) {
	const from = Number(button.dataset.start), to = Number(button.dataset.end);
	const s = segmentAt(where.heap, from);
	const tip = $('tip');
	const physical = physicalOf(from), made = s && madeText(s, view.source.calls, nameOf);
	if (!s || to > endOf(s))
		tip.textContent = button.getAttribute('aria-label');
	else
		tip.innerHTML = `<b>${textOf(s)}</b><br>${bytes(s.size)}` +
			`${s.kind === PROCESS ? `, ${escapeHtml(nameText(s))}` : ''}` +
			`${keptOf(s) ? `, of which ${many(s.remembered)} are remembered` : ''}` +
			`${physical ? `, physical ${physical}` : ''}${made ? `<br>${escapeHtml(made)}` : ''}`;
	tip.hidden = false;
	tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 8))}px`;
	const isLow = y + 22 + tip.offsetHeight > innerHeight;
	tip.style.top = `${isLow ? y - tip.offsetHeight - 12 : y + 22}px`;
}

const mapOf = element => isComparing() ? comparison.maps.find(one => one.root.contains(element)) :
	map;

/* Does an element have a use of its own for keys that lead from step to step? */
const isField = element => element.classList.contains('seg') ||
	['SELECT', 'SUMMARY'].includes(element.tagName) ||
	(element.tagName === 'INPUT' && element.id !== 'slider' && element.type !== 'checkbox');

/* A key on the page. */
function keyDown(event) {
	const {key, target} = event;
	if (event.ctrlKey || event.altKey || event.metaKey)
		return;
	if (target.classList.contains('seg') && mapOf(target).key(event))
		return;
	if (view.asking && /^[1-9]$/.test(key) && target.tagName !== 'INPUT') {
		const button = $('choices').children[Number(key) - 1];
		if (button)
			answer({type: button.dataset.type});
		return;
	}
	if (isField(target))
		return;
	const steps = {ArrowRight: next, ArrowLeft: () => go(view.k - 1), Home: () => go(0),
		End: () => go(last()), ' ': target === document.body ? play : null};
	if (!steps[key] || (target.closest('.scroll, pre') && key !== ' '))
		return;
	event.preventDefault();
	if (key !== ' ')
		pause();
	steps[key]();
}

/* Where an address after "#" leads: call=17, or 17 alone, and what else linkText writes. */
function follow() {
	const parts = new URLSearchParams(location.hash.slice(1));
	const call = Number(parts.get('call')) || Number(location.hash.slice(1)) || 0;
	const source = sources[Number(parts.get('show'))] || sources[0];
	const modes = ['watch', 'compare', 'predict', 'play'];
	const mode = modes.includes(parts.get('mode')) ? parts.get('mode') :
		source === played ? 'play' : 'watch';
	const policies = (parts.get('policies') || '').split(',').filter(p =>
		source.policies.includes(p));
	if (policies.length >= COMPARED_LEAST && policies.length <= COMPARED_MOST)
		view.compared = policies;
	view.source = source;
	view.policy = source.policies.includes(parts.get('policy')) && source !== played ?
		parts.get('policy') : source.ownPolicy;
	view.label = parts.get('label');
	showMode(mode);
	if (mode === 'predict')
		predictFrom(call || view.source.from);
	else
		go(call);
}

/* Shows a trace of the user's: with a title it is an exercise. */
async function openTrace(file) {
	const text = await file.text();
	$('open-fault').textContent = '';
	$('open').value = '';
	try {
		const isExercise = /^#/m.test(text);
		const source = traceSource(text, isExercise ? 'exercise' : 'opened',
			title => title || file.name);
		sources.push(source);
		showSources();
		showSource(source, isExercise ? 'predict' : 'watch');
	} catch (error) {
		$('open-fault').textContent = `${file.name}: ${error.message}`;
	}
}

function showSources() {
	$('source').innerHTML = sources.map((source, i) =>
		`<option value="${i}">${escapeHtml(source.name)}</option>`).join('');
}

function listenToSteps() {
	const stepBy = step => () => { pause(); step(); };
	$('first').onclick = stepBy(() => go(0));
	$('back').onclick = stepBy(() => go(view.k - 1));
	$('next').onclick = stepBy(next);
	$('last').onclick = stepBy(() => go(last()));
	$('play').onclick = play;
	$('slider').oninput = () => { pause(); go(Number($('slider').value)); };
	$('number').onchange = () => { pause(); go(Number($('number').value)); };
	$('speed').onchange = () => { if (view.timer) { pause(); play(); } };
	$('policy').onchange = () => {
		if (view.source === played)
			return setOptions({policy: $('policy').value});
		view.policy = $('policy').value;
		if (view.mode === 'predict')
			return predictFrom(view.k);
		go(view.k);
	};
	$('source').onchange = () => {
		const source = sources[Number($('source').value)];
		const mode = source === played ? 'play' : source.kind === 'exercise' &&
			view.mode !== 'compare' ? 'predict' : view.mode === 'play' ? 'watch' : view.mode;
		showSource(source, mode);
		$('source').focus();
	};
	$('open').onchange = () => openTrace($('open').files[0]);
	document.querySelector('nav').onclick = event => {
		const button = event.target.closest('[data-mode]');
		if (!button)
			return;
		const {mode} = button.dataset;
		const isOther = mode === 'play' && view.source !== played;
		const k = isOther ? player.calls.count : view.k;
		showMode(mode);
		if (mode === 'predict')
			predictFrom(Math.max(k < last() ? k : 0, view.source.from));
		else
			go(k);
	};
	const chartSeek = event => {
		const chart = event.target.closest('.chart');
		if (!chart || (event.type === 'pointermove' && !(event.buttons & 1)))
			return;
		pause();
		go(view.mode === 'predict' ? Math.min(view.k, callAt(chart, event, last())) :
			callAt(chart, event, last()));
	};
	for (const area of [$('chart'), $('compare-charts')]) {
		area.addEventListener('pointerdown', chartSeek);
		area.addEventListener('pointermove', chartSeek);
	}
}

function listenToQuestions() {
	$('choices').onclick = event => {
		const button = event.target.closest('button');
		if (button)
			answer({type: button.dataset.type});
	};
	$('show-me').onclick = () => {
		go(view.k + 1);
		showVerdict('', 'So it goes.', '');
	};
	$('next-question').onclick = afterVerdict;
}

function listenToPlay() {
	$('play-form').onsubmit = event => {
		event.preventDefault();
		if (act($('typed').value))
			$('typed').value = '';
		$('typed').focus();
	};
	$('play-block').onclick = event => {
		const button = event.target.closest('[data-act]');
		if (button)
			actOnBlock(button);
	};
	$('allocate').onclick = () => act(`malloc ${$('allocate-size').value}`);
	$('allocate-size').onkeydown = event => {
		if (event.key === 'Enter')
			$('allocate').click();
	};
	$('undo').onclick = () => { go(player.undo()); keepFocus($('undo'), $('typed')); };
	$('redo').onclick = () => { go(player.redo()); keepFocus($('redo'), $('typed')); };
	$('clear').onclick = () => {
		player.reset(new Calls(), player.options, []);
		go(0);
	};
	for (const id of ['alignment', 'page', 'limit', 'start'])
		$(`set-${id}`).onchange = () => settingChanged(id);
	$('what-if').onclick = whatIf;
}

/* A button that has just been disabled gives the focus on. */
function keepFocus(button, other) {
	if (button.disabled)
		other.focus();
}

function listenToHeap() {
	$('list').onclick = event => {
		const item = event.target.closest('button');
		if (item)
			choose(Number(item.dataset.start), Number(item.dataset.end), map);
	};
	$('label-table').onclick = event => {
		const button = event.target.closest('button');
		if (!button)
			return;
		const {label} = button.dataset;
		view.label = view.label === label ? null : label;
		go(view.k);
	};
	document.addEventListener('mousemove', event => {
		const mark = event.target.closest && event.target.closest('.seg');
		if (mark)
			showTip(mark, event.clientX, event.clientY, mapOf(mark));
		else
			hideTip();
	});
	document.addEventListener('focusin', event => {
		if (!event.target.matches('.seg:focus-visible'))
			return hideTip();
		const box = event.target.getBoundingClientRect();
		showTip(event.target, box.left, box.bottom - 8, mapOf(event.target));
	});
	$('compare-choice').onchange = event => {
		chooseCompared(event.target.value, event.target.checked);
		comparison.build(view.compared);
		go(view.k);
	};
	document.addEventListener('keydown', keyDown);
	addEventListener('resize', () => {
		map.redraw();
		comparison.redraw();
	});
	addEventListener('hashchange', follow);
}

const map = new HeapMap($('map'), {rows: ROWS, rowsMost: ROWS_MOST, choose, about: 'The heap'});
const comparison = new Comparison(choose);

showSources();
listenToSteps();
listenToQuestions();
listenToPlay();
listenToHeap();
follow();

/* ---- For tests: what the page knows and shows ------------------------------------------------ */

/* A sum over a text (FNV-1a). */
function sumOf(words) {
	let sum = 2166136261;
	for (let i = 0; i < words.length; i++)
		sum = Math.imul(sum ^ words.charCodeAt(i), 16777619);
	return sum >>> 0;
}

window.timeline = {
	go,
	get calls() { return last(); },
	get isWorking() { return runsNow().some(run => !run.isDone); },
	/* What the page knows of the state after a call, drawn or not. */
	view(call) {
		const run = runNow(), heap = run.at(call);
		const text = heap.text();
		return {call, segments: heap.segments, sum: sumOf(text), nodes: heap.nodes.length,
			process: run.process[call], hole: run.mapped[call] - run.process[call],
			mapped: run.mapped[call], largest: run.largest[call],
			text: text.length < 10000 ? text : ''};
	},
};
