// `node main.js STACK`, after `npm ci && npm run build`.

// Before the frameworks load: they look at it once.
process.env.NODE_ENV = 'production';
await import('./target/main.js');
