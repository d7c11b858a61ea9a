/*
 * Two to four policies side by side on the same calls. Depends on history.js, map.js, charts.js and
 * words.js.
 */
'use strict';

const COMPARED_LEAST = 2, COMPARED_MOST = 4;
const PANEL_ROWS = 3, PANEL_ROWS_MOST = 6;

/* The share of the bytes in HOLEs that the largest one cannot give at once, in percent. */
const tornOf = (run, call) => {
	const free = run.mapped[call] - run.process[call];
	return free ? (1 - run.largest[call] / free) * 100 : 0;
};

/* What is compared: its name, its value after a call, how it is written, and the best of them.
 * isSearch: the library's own quick fit does not tell it. */
const MEASURES = [
	{name: 'Bytes mapped', value: (run, call) => run.mapped[call], write: many, isCurve: true},
	{name: 'HOLEs', value: (run, call) => run.holes[call], write: many, isCurve: true},
	{name: 'Largest HOLE', value: (run, call) => run.largest[call], write: many, isMost: true},
	{name: 'External fragmentation', value: tornOf, write: value => `${value.toFixed(1)} %`,
		isCurve: true},
	{name: 'HOLEs looked at', value: (run, call) => run.looked[call], write: many, isCurve: true,
		isSearch: true},
	{name: 'HOLEs looked at so far per request, mean', write: value => value.toFixed(1),
		value: (run, call) => run.lookedInAll[call] / Math.max(1, run.requests[call]), isSearch: true},
	{name: 'HOLEs looked at so far per request, worst', write: many,
		value: (run, call) => run.lookedAtMost[call], isSearch: true},
	{name: 'Blocks that could not be had', value: (run, call) => run.failed[call], write: many},
];

class Comparison {
	/* choose(from, to, map) as in HeapMap. */
	constructor(choose) {
		this.choose = choose;
		this.policies = [];
		this.maps = [];
		this.find = id => document.getElementById(id);
		this.drawn = '';
	}

	/* Shows a panel for each of these policies. */
	build(policies) {
		this.policies = policies;
		this.drawn = '';
		this.find('panels').innerHTML = policies.map(policy =>
			`<section class="card" style="--policy:var(--${policy})" data-policy="${policy}" ` +
			`aria-label="${POLICY_NAMES[policy]}"><h3>${POLICY_NAMES[policy]}</h3>` +
			'<p class="panel-words"></p><div class="panel-map"></div></section>').join('');
		this.maps = [...this.find('panels').children].map((panel, i) =>
			new HeapMap(panel.querySelector('.panel-map'), {rows: PANEL_ROWS,
				rowsMost: PANEL_ROWS_MOST, about: POLICY_NAMES[policies[i]], choose: this.choose}));
		this.find('compare-legend').innerHTML = policies.map(policy =>
			'<span><svg width="34" height="10" aria-hidden="true"><path d="M0 5H34" ' +
			`stroke="var(--${policy})" stroke-width="3" stroke-dasharray="${DASHES[policy]}"/></svg> ` +
			`${POLICY_NAMES[policy]}</span>`).join('');
		this.find('quick-key').hidden = !policies.some(p => p === 'quick_fit' || p === 'recorded');
		this.find('differs-key').textContent = `≠ lies elsewhere than under ` +
			`${POLICY_NAMES[policies[0]]}`;
	}

	/* What a call did under one policy, in a line. */
	panelWords(run, call, moved) {
		if (call === 0)
			return 'The heap is empty.';
		const {badges} = tell(run, call);
		const result = run.result[call];
		const kind = run.calls.kind[call - 1];
		const looked = run.looked[call] === 0 ? '' : ` Looked at ${plural(run.looked[call], 'HOLE')}.`;
		const place = result === 0 ? '' : kind === 'f' ? ` at ${result}` : ` → ${result}`;
		const elsewhere = moved === null ? '' : moved === 0 ? ' All blocks lie where they do under ' +
			`${POLICY_NAMES[this.policies[0]]}.` : ` ${plural(moved, 'block')} ` +
			`${moved === 1 ? 'lies' : 'lie'} elsewhere than under ${POLICY_NAMES[this.policies[0]]}.`;
		return `<b>${badges.join(', ')}</b>${place}.${looked}${elsewhere}`;
	}

	/* Draws the state after a call. runs: one for each policy. */
	draw(runs, call, show) {
		for (const run of runs)
			run.largest[call] = run.at(call).largestShown();
		const first = runs[0].at(call);
		runs.forEach((run, i) => {
			const panel = this.find('panels').children[i];
			const elsewhere = i === 0 ? null : new Set(differences(run.at(call), first));
			panel.querySelector('.panel-words').innerHTML =
				this.panelWords(run, call, elsewhere && elsewhere.size);
			this.maps[i].draw(run.at(call), {...show, elsewhere,
				target: run.result[call] || null,
				elsewhereName: POLICY_NAMES[this.policies[0]]});
		});
		this.drawTable(runs, call);
		this.drawCharts(runs, call);
	}

	drawTable(runs, call) {
		const rows = MEASURES.map(({name, value, write, isMost, isSearch}) => {
			const values = runs.map(run => isSearch && run.options.policy === 'recorded' ? null :
				value(run, call));
			const known = values.filter(v => v !== null);
			const best = isMost ? Math.max(...known) : Math.min(...known);
			const isEqual = known.every(v => v === known[0]);
			return `<tr><th scope="row">${name}</th>${values.map(v => v === null ? '<td>–</td>' :
				v === best && !isEqual ? `<td class="best">✓ ${write(v)}</td>` :
					`<td>${write(v)}</td>`).join('')}</tr>`;
		});
		this.find('compare-table').innerHTML = '<table><thead><tr><th></th>' +
			this.policies.map(p => `<th scope="col">${POLICY_NAMES[p]}</th>`).join('') +
			`</tr></thead><tbody>${rows.join('')}</tbody></table>` +
			'<p class="soft">✓ marks the best of a row: the least, for the largest HOLE the most.</p>';
	}

	/* The curves are drawn anew only when more of them is known. */
	drawCharts(runs, call) {
		const {count} = runs[0].calls;
		const area = this.find('compare-charts');
		const known = `${this.policies} ${runs.map(run => run.done)} ${count}`;
		if (known !== this.drawn) {
			this.drawn = known;
			area.innerHTML = MEASURES.filter(m => m.isCurve).map(m => this.chartHtml(m, runs)).join('');
		}
		for (const chart of area.querySelectorAll('.chart'))
			moveCursor(chart, call, count);
	}

	chartHtml({name, value, write}, runs) {
		const {count} = runs[0].calls;
		const curves = runs.map((run, i) => ({colour: `var(--${this.policies[i]})`,
			dash: DASHES[this.policies[i]], points: pointsOf(this.column(run, value), run.done, count)}));
		const {html, most} = curvesChart(curves, count, count);
		return `<div><h3>${name}</h3><div class="chart" role="img" aria-label="${name} over ` +
			`${plural(count, 'call')}, at most ${write(most)}">${html}</div>` +
			`<div class="chart-axis soft mono"><span>call 0</span><span>top: ${write(most)}</span>` +
			`<span>call ${many(count)}</span></div></div>`;
	}

	column(run, value) {
		return Array.from({length: run.done + 1}, (_, call) => value(run, call));
	}

	redraw() {
		for (const map of this.maps)
			map.redraw();
	}
}

const DASHES = {first_fit: '', next_fit: '9 4', best_fit: '3 3', worst_fit: '12 3 3 3',
	quick_fit: '6 3', recorded: '1 3'};
