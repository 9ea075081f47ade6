import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../main.js', import.meta.url));

/** A stack as the suite runs it: a process that says when it serves, and gives account at its end. */
export async function startService(stack, receiver) {
  const child = spawn(process.execPath, [MAIN, stack], {
    env: { ...process.env, BENCH_RECEIVER: receiver },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const { value: ready } = await lines.next();
  const address = /^ready 127\.0\.0\.1:(\d+)$/.exec(ready ?? '');
  if (address === null) {
    child.kill('SIGKILL');
    throw new Error(`expected the ready line, got ${ready}`);
  }
  const agent = new http.Agent({ keepAlive: true });
  const port = Number(address[1]);
  return {
    get: (path, headers) => get({ host: '127.0.0.1', port, path, headers, agent }),
    /** SIGTERM, then the last line and how the process ended. */
    async stop() {
      child.kill('SIGTERM');
      const { value: line } = await lines.next();
      const [code] = await exited;
      agent.destroy();
      return { code, account: JSON.parse(line) };
    },
    kill() {
      agent.destroy();
      child.kill('SIGKILL');
    },
  };
}

async function get(options) {
  const request = http.get(options);
  const [response] = await once(request, 'response');
  response.setEncoding('utf8');
  let body = '';
  for await (const chunk of response) {
    body += chunk;
  }
  return { status: response.statusCode, headers: response.headers, body };
}
