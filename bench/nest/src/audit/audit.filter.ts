import { type ArgumentsHost, Catch } from '@nestjs/common';
import { BaseExceptionFilter, HttpAdapterHost } from '@nestjs/core';
import { AuditService } from './audit.service.js';

/** Sees the requests that no interceptor sees: those without a route, and those that a guard or a parser refused. */
@Catch()
export class AuditFilter extends BaseExceptionFilter {
  constructor(
    private readonly audit: AuditService,
    host: HttpAdapterHost,
  ) {
    super(host.httpAdapter);
  }

  override catch(exception: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    this.audit.watch(http.getRequest(), http.getResponse());
    super.catch(exception, host);
  }
}
