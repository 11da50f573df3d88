"""Setting up the InfluxDB that the stack runs: user, organisation, bucket and token, once."""

from __future__ import annotations

import aiohttp

from iotd.config import Settings
from iotd.config.topology import Node
from iotd.model.errors import StackError
from iotd.ops.files import write_secret


async def set_up(settings: Settings, node: Node) -> None:
    """Makes user, organisation, bucket and token on a new server; nothing on one that is set up already.

    Raises:
        StackError: the server refuses, or was set up by someone else, so that its token is not ours to know.
    """
    wanted = settings.influxdb
    token = settings.stack_token
    base = f"http://{node.address}/api/v2/setup"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        async with session.get(base) as response:
            new = (await response.json())["allowed"]
        if not new:
            if not token.exists():
                raise StackError(
                    f"{node.name} at {node.address} was set up before, and {token} is not there: put its token there, "
                    "or set influxdb.url and influxdb.token_file"
                )
            return
        body = {
            "username": wanted.username,
            "password": wanted.password.get_secret_value(),
            "org": wanted.org,
            "bucket": wanted.bucket,
            "retentionPeriodSeconds": 0,
        }
        async with session.post(base, json=body) as response:
            answer = await response.json()
            if response.status != 201:
                raise StackError(f"{node.name} at {node.address} refused its set-up: {answer.get('message', answer)}")
    write_secret(token, answer["auth"]["token"])
