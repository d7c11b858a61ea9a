/* How the page says things. Depends on engine.js. */
'use strict';

/* A whole number with commas. (toLocaleString takes fifty times as long.) */
const many = number => String(number).replace(/\B(?=(\d{3})+$)/g, ',');
const plural = (number, word) => `${many(number)} ${word}${number === 1 ? '' : 's'}`;
const bytes = number => plural(number, 'byte');
const percent = (part, whole) => whole ? Math.round(part / whole * 100) : 0;
const escapeHtml = text => String(text).replace(/[&<>"]/g, c => `&#${c.charCodeAt(0)};`);

const POLICY_NAMES = {first_fit: 'first fit', next_fit: 'next fit', best_fit: 'best fit',
	worst_fit: 'worst fit', quick_fit: 'quick fit', recorded: 'recorded quick fit'};

/* A copy of a segment that stays as it is. QUICK is a HOLE that is remembered. */
function copyOf(segment) {
	const {kind, start, size, block, call, remembered} = segment;
	return {kind, start, size, block, call, remembered, end: start + size - 1,
		node: segment.node.index};
}

/* The classes of a segment, and its style: of a HOLE that is remembered in part, how much of it. */
const lookOf = segment => segment.kind === PROCESS ? 'process' : segment.kind === QUICK ? 'quick' :
	'hole';
const keptOf = segment => segment.kind === HOLE && segment.remembered > 0;
const classesOf = segment => `${lookOf(segment)}${keptOf(segment) ? ' kept' : ''}`;
const styleOf = segment => keptOf(segment) ?
	`;--kept:${percent(segment.remembered, segment.size)}%` : '';

const endOf = segment => segment.start + segment.size - 1;
const typeOf = segment => segment.kind === PROCESS ? 'PROCESS' : 'HOLE';
const textOf = segment => `${typeOf(segment)}[${segment.start}:${endOf(segment)}]`;

/* A block by its label, where it has one: parser #7, and else block 7. */
const blockText = (name, label) => label ? `${label} #${name}` : `block ${name}`;

/* A call as in C. nameOf gives the name of a block. */
function callText(call, nameOf) {
	switch (call.kind) {
	case 'a': return `mems_malloc(${call.size})`;
	case 'c': return `mems_calloc(1, ${call.size})`;
	case 'm': return `mems_aligned_alloc(${call.alignment}, ${call.size})`;
	case 'g': return 'mems_trim()';
	case 'r': return `mems_realloc(${blockText(nameOf(call.block), call.owner)}, ${call.size})`;
	default: return `mems_free(${blockText(nameOf(call.block), call.owner)})`;
	}
}

/* Which call made a segment what it is. */
function madeText(segment, calls, nameOf) {
	if (segment.call === 0)
		return '';
	const call = calls.get(segment.call);
	const text = callText(call, nameOf);
	const isNew = segment.kind === PROCESS && 'acm'.includes(call.kind);
	const isRest = segment.kind !== PROCESS && call.kind !== 'f';
	return `${isRest ? 'left by ' : ''}call ${many(segment.call)}: ${text}` +
		`${isNew || isRest && call.kind !== 'r' ? `, ${blockText(nameOf(call.block), call.owner)}` : ''}`;
}

if (typeof module !== 'undefined')
	module.exports = {many, plural, bytes, percent, escapeHtml, POLICY_NAMES, copyOf, lookOf,
		keptOf, classesOf, styleOf, endOf, typeOf, textOf, blockText, callText, madeText};
