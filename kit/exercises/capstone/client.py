"""The bank, as a service calls it."""

import asyncio
import json
import os
import socket

# Where the bank is, when it is there; at home it takes everything.
AT = ("127.0.0.1", int(os.environ.get("BANK", 0)))


class Refused(Exception):
    """The bank takes no money just now. Ask again later."""


async def charge(order: int, key: str = "") -> None:
    """Take the money of an order. With a key that the bank has seen before, it takes no more."""
    if not AT[1]:
        return
    answers, calls = await asyncio.open_connection(*AT)
    try:
        calls.write(json.dumps([order, key, os.getpid()]).encode() + b"\n")
        if await answers.readline() != b"paid\n":
            raise Refused(f"the bank takes nothing for order {order} just now")
    finally:
        calls.close()


def charge_now(order: int, key: str = "") -> None:
    """Do the same, and block until the bank has answered, as many libraries do."""
    if not AT[1]:
        return
    with socket.create_connection(AT) as calls:
        calls.sendall(json.dumps([order, key, os.getpid()]).encode() + b"\n")
        if calls.makefile().readline() != "paid\n":
            raise Refused(f"the bank takes nothing for order {order} just now")
