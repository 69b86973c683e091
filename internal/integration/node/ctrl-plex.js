// Signs in with @ctrl/plex, and goes on to the media server.
import { EnvHttpProxyAgent, setGlobalDispatcher } from 'undici';
import { MyPlexAccount } from '@ctrl/plex';

setGlobalDispatcher(new EnvHttpProxyAgent()); // what NODE_USE_ENV_PROXY does in newer releases of Node.js

const login = await MyPlexAccount.getWebLogin();
console.log(login.uri);
const account = await MyPlexAccount.webLoginCheck(login, 30);
console.log('account:', account.username, account.id);
const home = await account.query('https://plex.tv/api/v2/home/users');
console.log('home:', home.users.map(u => u.title).join());
const [box] = await account.resources();
console.log('server:', box.name, box.connections.length);
const server = await box.connect();
console.log('connected:', server.friendlyName);
