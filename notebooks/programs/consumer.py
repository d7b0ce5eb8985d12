from contextlib import asynccontextmanager  # new

import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer


@asynccontextmanager  # new
async def main():
    conn = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(conn))

    @pgq.entrypoint("fetch")
    async def process(job: Job) -> None:
        print(f"Processed: {job!r}")

    yield pgq  # was: return pgq
    await conn.close()  # there is a place to tidy up now
