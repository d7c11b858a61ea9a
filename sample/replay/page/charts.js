/* Curves over the calls. Depends on words.js and history.js. */
'use strict';

const CHART_POINTS = 1000; /* across; where there are more calls, each shows the most of several */
const CHART_HEIGHT = 150;

/* The points of a column of a run, up to a call: [call, value]. */
function pointsOf(column, upTo, count) {
	const stride = Math.max(1, Math.ceil((count + 1) / CHART_POINTS));
	const points = [];
	for (let i = 0; i <= upTo && i < column.length; i += stride) {
		let most = column[i];
		for (let k = i + 1; k < i + stride && k <= upTo && k < column.length; k++)
			most = Math.max(most, column[k]);
		points.push([i, most]);
	}
	return points;
}

/* The path of a curve that goes in steps; most: the value at the top. */
function pathOf(points, upTo, count, most) {
	const x = call => (call / Math.max(1, count) * CHART_POINTS).toFixed(1);
	const y = value => (CHART_HEIGHT - value / most * (CHART_HEIGHT - 4)).toFixed(1);
	return points.map(([call, value], i) => `${i ? `H${x(call)}` : `M0 ${CHART_HEIGHT}`}V${y(value)}`)
		.join('') + `H${x(Math.min(upTo, count))}`;
}

const svgOf = inner => `<svg viewBox="0 0 ${CHART_POINTS} ${CHART_HEIGHT}" ` +
	`preserveAspectRatio="none" aria-hidden="true">${inner}</svg><div class="cursor"></div>`;

/* What is in use and what is mapped, as areas, up to a call. */
function bytesChart(run, upTo) {
	const {count} = run.calls;
	const mapped = pointsOf(run.mapped, upTo, count), process = pointsOf(run.process, upTo, count);
	const most = Math.max(1, ...mapped.map(([, value]) => value));
	const area = points => `${pathOf(points, upTo, count, most)}V${CHART_HEIGHT}Z`;
	const html = svgOf('<defs><pattern id="c-hole" width="9" height="9" ' +
		'patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="9" height="9" ' +
		'fill="#fff6e0"/><rect width="2.5" height="9" fill="#f0b23e"/></pattern></defs>' +
		`<path d="${area(mapped)}" fill="url(#c-hole)"/>` +
		`<path d="${area(process)}" fill="#0d5a96"/>` +
		`<path d="${pathOf(mapped, upTo, count, most)}" fill="none" stroke="currentColor" ` +
		'stroke-width="2" vector-effect="non-scaling-stroke"/>');
	return {html, most: Math.max(...mapped.map(([, value]) => value))};
}

/* One curve for each run. curves: [{points, colour, dash}]. */
function curvesChart(curves, upTo, count) {
	const most = Math.max(1, ...curves.flatMap(({points}) => points.map(([, value]) => value)));
	return {most, html: svgOf(curves.map(({points, colour, dash}) =>
		`<path d="${pathOf(points, upTo, count, most)}" fill="none" stroke="${colour}" ` +
		`stroke-width="2" stroke-dasharray="${dash}" vector-effect="non-scaling-stroke"/>`).join(''))};
}

/* The call that is nearest to a place in a chart. */
function callAt(chart, event, count) {
	const box = chart.getBoundingClientRect();
	return Math.max(0, Math.min(count, Math.round((event.clientX - box.left) / box.width * count)));
}

const moveCursor = (chart, call, count) => {
	const cursor = chart.querySelector('.cursor');
	if (cursor)
		cursor.style.left = `${call / Math.max(1, count) * 100}%`;
};
