import { Controller, Get, InternalServerErrorException, Param } from '@nestjs/common';

const ROUTES = Array.from({ length: 50 }, (_, n) => `r${String(n).padStart(2, '0')}/:id`);

/** What every stack of the suite serves: 50 routes with a small answer, and one that fails. */
@Controller('api')
export class ItemsController {
  @Get(ROUTES)
  item(@Param('id') id: string) {
    return { id, name: 'item', ok: true };
  }

  @Get('fail/:id')
  fail(): never {
    throw new InternalServerErrorException();
  }
}
