import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { startReceiver } from './receiver.js';
import { startService } from './service.js';

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const HEADERS = {
  'x-user-id': 'u_00042',
  'x-user-role': 'admin',
  'x-org-id': 'org_007',
  'x-forwarded-for': '203.0.113.9',
  'user-agent': 'test/1.0',
};
/** More than one batch, and a rest that only the shutdown sends. */
const REQUESTS = 250;

/** One in ten has no route, one in twenty-five fails. */
function pathOf(n) {
  if (n % 10 === 3) {
    return { path: `/nowhere/${n}?token=secret`, status: 404 };
  }
  if (n % 25 === 1) {
    return { path: `/api/fail/${n}`, status: 500 };
  }
  return { path: `/api/r${String(n % 50).padStart(2, '0')}/${n}?token=secret`, status: 200 };
}

async function sendMix(service) {
  const sent = new Map();
  for (let n = 0; n < REQUESTS; n += 1) {
    const { path, status } = pathOf(n);
    const answer = await service.get(path, HEADERS);
    assert.equal(answer.status, status, path);
    if (status === 200) {
      assert.deepEqual(JSON.parse(answer.body), { id: String(n), name: 'item', ok: true });
    }
    sent.set(answer.headers['x-request-id'] ?? n, { path, status });
  }
  assert.equal(sent.size, REQUESTS);
  return sent;
}

function checkEvent(event, { path, status }) {
  const bare = path.split('?')[0];
  const routes = { 200: bare.replace(/\d+$/, ':id'), 404: undefined, 500: '/api/fail/:id' };
  const codes = { 200: undefined, 404: 'NOT_FOUND', 500: 'INTERNAL_SERVER_ERROR' };
  const { properties } = event;
  assert.equal(event.event, 'api_request');
  assert.equal(event.distinct_id, 'u_00042');
  assert.equal(properties.requestId, event.uuid);
  assert.equal(properties.userId, 'u_00042');
  assert.equal(properties.userRole, 'admin');
  assert.equal(properties.orgId, 'org_007');
  assert.equal(properties.method, 'GET');
  assert.equal(properties.path, bare);
  assert.equal(properties.route, routes[status]);
  assert.equal(properties.statusCode, status);
  assert.equal(properties.result, status === 200 ? 'success' : 'failure');
  assert.equal(properties.errorCode, codes[status]);
  assert.ok(properties.duration_ms >= 0);
  assert.equal(properties.userAgent, 'test/1.0');
  assert.equal(properties.ip, '203.0.113.9');
  assert.equal(properties.$process_person_profile, false);
}

/** Runs `body` against a stack and a receiver, and leaves neither behind. */
async function withStack(stack, { delivery }, body) {
  const receiver = await startReceiver();
  let service;
  try {
    service = await startService(stack, delivery ? receiver.url : '');
    await body(service, receiver);
  } finally {
    service?.kill();
    receiver.close();
  }
}

for (const stack of ['nest-express', 'nest-fastify']) {
  test(`${stack} delivers every request once`, () =>
    withStack(stack, { delivery: true }, async (service, receiver) => {
      const sent = await sendMix(service);
      const { code, account } = await service.stop();

      assert.equal(code, 0);
      assert.deepEqual(account, { answered: REQUESTS, rows_made: REQUESTS, rows_delivered: REQUESTS, rows_lost: 0, books: null });
      assert.equal(receiver.events.length, REQUESTS);
      for (const event of receiver.events) {
        assert.match(event.uuid, UUID_V7);
        checkEvent(event, sent.get(event.uuid) ?? assert.fail(`nobody was given ${event.uuid}`));
        sent.delete(event.uuid);
      }
      assert.equal(sent.size, 0);
    }));

  test(`${stack} runs without a receiver`, () =>
    withStack(stack, { delivery: false }, async (service, receiver) => {
      await sendMix(service);
      const { code, account } = await service.stop();

      assert.equal(code, 0);
      assert.deepEqual(account, { answered: REQUESTS, rows_made: REQUESTS, rows_delivered: null, rows_lost: null, books: null });
      assert.equal(receiver.events.length, 0);
    }));
}

for (const stack of ['nest-express-bare', 'nest-fastify-bare']) {
  test(`${stack} serves and makes no rows`, () =>
    withStack(stack, { delivery: true }, async (service, receiver) => {
      const answer = await service.get('/api/r49/x', HEADERS);
      assert.equal(answer.headers['x-request-id'], undefined);
      await sendMix(service);
      const { code, account } = await service.stop();

      assert.equal(code, 0);
      assert.deepEqual(account, { answered: REQUESTS + 1, rows_made: 0, rows_delivered: null, rows_lost: null, books: null });
      assert.equal(receiver.events.length, 0);
    }));
}

test('an unknown stack is an error that names the known ones', () => {
  const main = fileURLToPath(new URL('../main.js', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [main, 'nest-koa'], { encoding: 'utf8' });
  assert.equal(status, 1);
  assert.match(stderr, /no stack "nest-koa"; there are nest-express, /);
});
