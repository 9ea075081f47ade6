import { type CallHandler, type ExecutionContext, Injectable, type NestInterceptor } from '@nestjs/common';
import type { Observable } from 'rxjs';
import { AuditService } from './audit.service.js';

/** Sees the requests that reach a handler, after the guards, so that the actor is known. */
@Injectable()
export class AuditInterceptor implements NestInterceptor {
  constructor(private readonly audit: AuditService) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const http = context.switchToHttp();
    this.audit.watch(http.getRequest(), http.getResponse());
    return next.handle();
  }
}
