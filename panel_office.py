
import asyncpg, time
from contextlib import asynccontextmanager
from pgqueuer import AsyncpgDriver, PgQueuer, Queries

@asynccontextmanager
async def main():
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("fetch")
    async def fetch(job):
        if job.payload == b"bad":
            raise ValueError("<b>no</b>")
        print("fetched", job.payload.decode())

    yield pgq
    await connection.close()

