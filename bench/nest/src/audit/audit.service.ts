import type { ServerResponse } from 'node:http';
import { HttpStatus, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { PostHog } from 'posthog-node';
import { v7 as uuidv7 } from 'uuid';
import { type AuditedRequest, type AuditedResponse, headerOf, pathOf, rawResponse, routeOf } from './exchange.js';

const SHUTDOWN_TIMEOUT_MS = 120_000;

/** What became of the events, as far as posthog-node tells. */
export interface Counts {
  made: number;
  delivered: number | null;
  lost: number | null;
}

/** One event for each request, captured when its response is over. */
@Injectable()
export class AuditService implements OnApplicationShutdown {
  private readonly posthog: PostHog;
  private readonly delivers = Boolean(process.env.BENCH_RECEIVER);
  private made = 0;
  private flushed = 0;
  private errors = 0;

  constructor(private readonly host: HttpAdapterHost) {
    this.posthog = new PostHog('phc_bench', {
      host: process.env.BENCH_RECEIVER,
      disabled: !this.delivers,
      flushAt: 100,
      flushInterval: 30_000,
      // posthog-node's default (10,000), unless a run asks what another one would change.
      maxQueueSize: Number(process.env.BENCH_POSTHOG_QUEUE) || undefined,
    });
    this.posthog.on('flush', (sent: unknown[]) => (this.flushed += sent.length));
    this.posthog.on('error', () => (this.errors += 1));
  }

  /** Watches a request from here to the end of its response. A second call for the same request does nothing. */
  watch(request: AuditedRequest, response: AuditedResponse): void {
    if (request.requestId) {
      return;
    }
    const requestId = uuidv7();
    const timestamp = new Date();
    const started = performance.now();
    request.requestId = requestId;
    this.host.httpAdapter.setHeader(response, 'x-request-id', requestId);
    // `close` comes after `finish`, and also if the client left before.
    const raw = rawResponse(response);
    raw.once('close', () => this.capture(request, raw, requestId, timestamp, started));
  }

  async onApplicationShutdown(): Promise<void> {
    await this.posthog.shutdown(SHUTDOWN_TIMEOUT_MS);
  }

  /** True after the shutdown only. A flush that failed half-way does not say what it sent: then nobody knows. */
  counts(): Counts {
    const known = this.delivers && this.errors === 0;
    return {
      made: this.made,
      delivered: known ? this.flushed : null,
      lost: known ? this.made - this.flushed : null,
    };
  }

  private capture(request: AuditedRequest, response: ServerResponse, requestId: string, timestamp: Date, started: number): void {
    const complete = response.writableFinished;
    const failed = !complete || response.statusCode >= 400;
    const userId = headerOf(request, 'x-user-id');
    this.made += 1;
    this.posthog.capture({
      event: 'api_request',
      distinctId: userId ?? `req:${requestId}`,
      uuid: requestId,
      timestamp,
      properties: {
        requestId,
        userId,
        userRole: headerOf(request, 'x-user-role'),
        orgId: headerOf(request, 'x-org-id'),
        method: request.method,
        path: pathOf(request),
        route: routeOf(request),
        statusCode: complete ? response.statusCode : undefined,
        result: failed ? 'failure' : 'success',
        errorCode: failed ? errorCode(complete, response.statusCode) : undefined,
        duration_ms: performance.now() - started,
        userAgent: request.headers['user-agent'],
        ip: request.ip,
        $process_person_profile: false,
      },
    });
  }
}

function errorCode(complete: boolean, status: number): string {
  return complete ? (HttpStatus[status] ?? `HTTP_${status}`) : 'CLIENT_CLOSED';
}
