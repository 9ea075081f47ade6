import type { Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { build } from './service.js';

/** A connection that never sent a request is not idle for Node, and would hold the shutdown for ever. */
const STRAGGLERS_MS = 10_000;

/** The life of a service under test: serve, say where, and give account after SIGTERM. */
async function main(stack: string): Promise<void> {
  const { app, audit } = await build(stack);
  const server: Server = app.getHttpServer();
  let answered = 0;
  let closing = false;
  // Before the framework, in all stacks: what is audited is counted by somebody else than the audit.
  server.prependListener('request', (_request: unknown, response: ServerResponse) => {
    answered += 1;
    if (closing) {
      response.setHeader('connection', 'close');
    }
  });

  process.once('SIGTERM', () => {
    closing = true;
    setTimeout(() => server.closeAllConnections(), STRAGGLERS_MS).unref();
    app.close().then(() => {
      const rows = audit?.counts() ?? { made: 0, delivered: null, lost: null };
      print(JSON.stringify({ answered, rows_made: rows.made, rows_delivered: rows.delivered, rows_lost: rows.lost, books: null }));
      process.exit(0);
    }, fail);
  });
  await app.listen(0, '127.0.0.1');
  print(`ready 127.0.0.1:${(server.address() as AddressInfo).port}`);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function fail(error: unknown): void {
  console.error(error);
  process.exit(1);
}

main(process.argv[2] ?? '').catch(fail);
