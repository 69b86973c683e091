// Lets a program connect to this machine only. node --require loads it first.
const net = require('node:net');

const here = new Set(['localhost', '127.0.0.1', '::1']);
const connect = net.Socket.prototype.connect;

net.Socket.prototype.connect = function (...args) {
  const [first, second] = Array.isArray(args[0]) ? args[0] : args; // net.connect passes them as one array
  const options = typeof first === 'object' ? first : { port: first, host: typeof second === 'string' ? second : undefined };
  const host = options.host ?? 'localhost';
  if (options.path == null && !here.has(host)) {
    throw new Error(`no test may connect to ${host}`);
  }
  return connect.apply(this, args);
};
