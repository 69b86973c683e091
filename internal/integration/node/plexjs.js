// Signs in with @lukehagar/plexjs, and goes on to the media server. It has a schema of each
// answer, and fails if an answer is not like that.
import { setTimeout as sleep } from 'node:timers/promises';
import { EnvHttpProxyAgent, setGlobalDispatcher } from 'undici';
import { PlexAPI } from '@lukehagar/plexjs';

setGlobalDispatcher(new EnvHttpProxyAgent()); // what NODE_USE_ENV_PROXY does in newer releases of Node.js

const app = { clientID: 'my-app-1', clientName: 'My App' };
const anyone = new PlexAPI({});
for (const strong of [false, true]) {
  const pin = (await anyone.plex.getPin({ ...app, strong })).authPinContainer;
  console.log('code:', pin.code.length, 'for', pin.expiresIn, 'seconds');
  let accessToken = null;
  while (!accessToken) {
    await sleep(1100);
    accessToken = (await anyone.plex.getTokenByPinId({ ...app, pinID: pin.id })).authPinContainer.authToken;
  }
  const account = new PlexAPI({ accessToken });
  const [box] = (await account.plex.getServerResources(app.clientID, 1, 1, 1)).plexDevices;
  console.log('server:', box.name, box.connections.length);
  const users = await account.users.getUsers({ clientID: app.clientID, xPlexToken: accessToken });
  console.log('users:', new TextDecoder().decode(users.body).match(/title="[^"]+"/g).join());

  const server = new PlexAPI({ accessToken: box.accessToken, serverURL: box.connections[0].uri });
  console.log('identity:', (await server.server.getServerIdentity()).object.mediaContainer.machineIdentifier === box.clientIdentifier);
  console.log('capabilities:', (await server.server.getServerCapabilities()).object.mediaContainer.friendlyName);
}
const stranger = new PlexAPI({ accessToken: 'FAKE_nobody' });
await stranger.plex.getServerResources(app.clientID).catch(e => console.log('refused:', e.name, e.errors[0].code));
await anyone.plex.getTokenByPinId({ ...app, pinID: 1 }).catch(e => console.log('expired:', e.name, e.errors[0].code));
