/* node screenshot.js PAGE PNG WIDTH HEIGHT [SCALE [dark|light [SCRIPT]]]: takes a picture of a
 * page, as it is when SCRIPT was run in it. The part of its address after "#"
 * may follow its name. */
'use strict';

const fs = require('fs');
const {Browser} = require('./browser.js');

async function main([page, png, width, height, scale, scheme, script]) {
	const browser = await Browser.start(Number(width), Number(height), scheme === 'dark');
	await browser.resize(Number(width), Number(height), Number(scale || 1));
	const [file, hash] = page.split('#');
	await browser.open(file, hash);
	if (script)
		await browser.get(script);
	fs.writeFileSync(png, await browser.picture());
	await browser.stop();
	if (browser.errors.length)
		throw new Error(browser.errors.join('\n'));
}

main(process.argv.slice(2)).catch(error => {
	console.error(error);
	process.exit(1);
});
