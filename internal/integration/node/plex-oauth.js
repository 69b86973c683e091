// Signs in with plex-oauth, which says no more than the token.
import library from 'plex-oauth';

const login = new library.PlexOauth({ clientIdentifier: 'my-app-1', product: 'My App', device: 'Box', version: '1', platform: 'Web' });
const [url, id] = await login.requestHostedLoginURL();
console.log(url);
console.log('token:', Boolean(await login.checkForAuthToken(id, 1000, 20)));
