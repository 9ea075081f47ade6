import { once } from 'node:events';
import http from 'node:http';
import { gunzipSync } from 'node:zlib';

/** A small PostHog: takes `/batch/`, and keeps what was in it. */
export async function startReceiver() {
  const events = [];
  const server = http.createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) {
      chunks.push(chunk);
    }
    const body = Buffer.concat(chunks);
    const json = request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body;
    events.push(...JSON.parse(json).batch);
    response.setHeader('content-type', 'application/json').end('{"status":"Ok"}');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    events,
    url: `http://127.0.0.1:${server.address().port}`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
