import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer


async def main() -> None:
    conn = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(conn))

    @pgq.entrypoint("fetch")
    async def process(job: Job) -> None:
        print(f"Processed: {job!r}")

    return pgq
