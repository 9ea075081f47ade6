import type { IncomingHttpHeaders, ServerResponse } from 'node:http';

/** What the audit reads of a request. Express and Fastify call these things the same, but for the route. */
export interface AuditedRequest {
  /** Set by the audit when it sees the request first. */
  requestId?: string;
  readonly method: string;
  readonly originalUrl: string;
  readonly headers: IncomingHttpHeaders;
  /** The client, by `x-forwarded-for` from a trusted proxy. */
  readonly ip?: string;
  /** Express. Absent when no route matched. */
  readonly route?: { path: string };
  /** Fastify. Without a `url` when no route matched. */
  readonly routeOptions?: { url?: string };
}

/** Express hands out Node's response, Fastify a reply around it. */
export type AuditedResponse = ServerResponse | { readonly raw: ServerResponse };

export function rawResponse(response: AuditedResponse): ServerResponse {
  return 'raw' in response ? response.raw : response;
}

export function routeOf(request: AuditedRequest): string | undefined {
  return request.routeOptions !== undefined ? request.routeOptions.url : request.route?.path;
}

/** Never with the query string. */
export function pathOf(request: AuditedRequest): string {
  const url = request.originalUrl;
  const query = url.indexOf('?');
  return query === -1 ? url : url.slice(0, query);
}

export function headerOf(request: AuditedRequest, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}
