import asyncio

import asyncpg
from pgqueuer import AsyncpgDriver, Queries


async def main() -> None:
    conn = await asyncpg.connect()
    q = Queries(AsyncpgDriver(conn))
    await q.enqueue(["fetch"], [b"hello world"], [0])
    print("Job enqueued!")
    await conn.close()


asyncio.run(main())
