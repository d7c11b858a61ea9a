/*
 * Random heaps and calls, the same for the same seed. Called by engine.js and stories.js.
 */
'use strict';

const {POLICIES} = require('../../../sample/replay/page/engine.js');

/* A generator of random numbers that gives the same for the same seed (xorshift32). */
class Random {
	constructor(seed) {
		this.state = seed || 1;
	}

	/* A number from 0 to below. */
	below(below) {
		this.state ^= this.state << 13;
		this.state ^= this.state >>> 17;
		this.state ^= this.state << 5;
		return (this.state >>> 0) % below;
	}

	of(list) {
		return list[this.below(list.length)];
	}
}

function randomOptions(random, policy) {
	const page = random.of([4096, 4096, 16384]);
	return {policy, page, alignment: random.of([1, 8, 16, 64]), start: random.of([1000, 1, 4294]),
		limit: random.of([0, 0, 3 * page, 20 * page + 1, 100 * page])};
}

/* Few sizes, so that some come again, and now and then a large one. */
function randomSize(random) {
	return random.of([8, 24, 100, 100, 1000, 1 + random.below(64), 1 + random.below(3000),
		random.below(10) === 0 ? 1 + random.below(150000) : 500]);
}

function randomCall(random, live, next) {
	const kind = random.of(live.length > 40 ? 'fffar' : 'aaacmrff');
	if ('rf'.includes(kind) && live.length > 0) {
		const at = random.below(live.length);
		const block = kind === 'f' ? live.splice(at, 1)[0] : live[at];
		return {kind, block, size: kind === 'f' ? 0 : randomSize(random), alignment: 0};
	}
	live.push(next);
	return {kind: 'acm'.includes(kind) ? kind : 'a', block: next, size: randomSize(random),
		alignment: kind === 'm' ? 1 << random.below(13) : 0};
}

/* So many heaps of each policy to be tried, with so many calls each. */
function plan(seed, heapsEach, callsEach) {
	const random = new Random(seed);
	const heaps = [];
	for (let i = 0; i < heapsEach * POLICIES.length; i++) {
		const options = randomOptions(random, POLICIES[i % POLICIES.length]);
		const live = [], calls = [];
		for (let next = 0; next < callsEach; next++)
			calls.push(randomCall(random, live, next));
		heaps.push({options, calls});
	}
	return heaps;
}

/* A call as a line of a trace. */
const line = ({kind, block, size, alignment}) =>
	`${kind} ${block}${kind === 'f' ? '' : ` ${size}`}${kind === 'm' ? ` ${alignment}` : ''}`;

module.exports = {Random, plan, line};
