import 'reflect-metadata';
import { type DynamicModule, type INestApplication, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter, type NestExpressApplication } from '@nestjs/platform-express';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { AuditModule } from './audit/audit.module.js';
import { AuditService } from './audit/audit.service.js';
import { ItemsController } from './items.controller.js';

/** The one proxy whose `x-forwarded-for` counts. */
const TRUSTED_PROXY = '127.0.0.1';

type Adapter = 'express' | 'fastify';

const STACKS: Record<string, { adapter: Adapter; audited: boolean }> = {
  'nest-express': { adapter: 'express', audited: true },
  'nest-express-bare': { adapter: 'express', audited: false },
  'nest-fastify': { adapter: 'fastify', audited: true },
  'nest-fastify-bare': { adapter: 'fastify', audited: false },
};

@Module({ controllers: [ItemsController] })
class ServiceModule {
  static with(audited: boolean): DynamicModule {
    return { module: ServiceModule, imports: audited ? [AuditModule] : [] };
  }
}

export interface Service {
  app: INestApplication;
  /** Absent in the bare stacks. */
  audit?: AuditService;
}

/** Builds the application that the suite calls `stack`. It does not listen yet. */
export async function build(stack: string): Promise<Service> {
  const chosen = STACKS[stack];
  if (chosen === undefined) {
    throw new Error(`no stack "${stack}"; there are ${Object.keys(STACKS).join(', ')}`);
  }
  const module = ServiceModule.with(chosen.audited);
  const app = await (chosen.adapter === 'express' ? express(module) : fastify(module));
  return { app, audit: chosen.audited ? app.get(AuditService, { strict: false }) : undefined };
}

async function express(module: DynamicModule): Promise<INestApplication> {
  const app = await NestFactory.create<NestExpressApplication>(module, new ExpressAdapter(), { logger: false });
  app.set('trust proxy', TRUSTED_PROXY);
  return app;
}

async function fastify(module: DynamicModule): Promise<INestApplication> {
  // By default Fastify refuses what arrives on an open connection during a shutdown, and nobody would audit that.
  const adapter = new FastifyAdapter({ trustProxy: TRUSTED_PROXY, return503OnClosing: false });
  // Declared before the first request, as Fastify asks for, so that all requests keep one shape.
  adapter.getInstance().decorateRequest('requestId', '');
  return NestFactory.create<NestFastifyApplication>(module, adapter, { logger: false });
}
