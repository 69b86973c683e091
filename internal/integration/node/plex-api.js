// Signs in with plex-api, which knows only requests, and goes on to the media server.
import { setTimeout as sleep } from 'node:timers/promises';
import PlexAPI from 'plex-api';

const options = { identifier: 'my-app-1', product: 'My App', version: '1', deviceName: 'Box', platform: 'Linux' };
const at = (url, more) => new PlexAPI({ hostname: url.hostname, port: Number(url.port || 443), options, ...more });
const parse = JSON.parse; // plex-api does so itself only for the media type that servers send, without a charset

const anyone = at(new URL('https://plex.tv'));
const pin = parse(await anyone.postQuery('/api/v2/pins'));
console.log('code:', pin.code.length);
let token = null;
while (!token) {
  await sleep(1100);
  token = parse(await anyone.query(`/api/v2/pins/${pin.id}`)).authToken;
}

const account = at(new URL('https://plex.tv'), { token });
console.log('account:', parse(await account.query('/api/v2/user')).username);
console.log('home:', parse(await account.query('/api/v2/home/users')).users.map(u => u.title).join());
const titles = container => container.MediaContainer.User.map(u => u.attributes.title).join();
console.log('home, from the first API:', titles(await account.query('/api/home/users')));
console.log('users:', titles(await account.query('/api/users')));
const [box] = parse(await account.query('/api/v2/resources?includeHttps=1'));
console.log('server:', box.name);

let asked = 0;
const authenticator = { authenticate: (_, done) => done(null, (asked++, box.accessToken)) };
const server = at(new URL(box.connections[0].uri), { authenticator });
const accounts = await server.query('/accounts');
console.log('accounts:', accounts.MediaContainer.Account.map(a => a.name).join(), 'after', asked, 'refusal');
console.log('libraries:', (await server.find('/library/sections', { type: 'movie' })).map(d => d.title).join());

await account.deleteQuery('/api/v2/users/signout');
await account.query('/api/v2/user').catch(e => console.log('signed out:', e.message));
