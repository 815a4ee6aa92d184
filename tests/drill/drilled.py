"""A deployment under test as the drill sees it: what its servers say, whole and broken."""

from __future__ import annotations

from drill.faults import Limits
from drill.hosts import Server
from drill.judge import Operation, Seen
from servers import RedisServer

LIMITS = Limits(down_after=2, node_timeout=1, max_lag=3)
PASSWORD = 'a "quoted" pa\'ss\\word'


def redis(name: str, role: str = "master", **info: str) -> Seen:
    linked = {"master_repl_offset": "7"} if role == "master" else {"master_link_status": "up"}
    return Seen(name, "redis", {"role": role, "run_id": f"run of {name}", **linked, **info})


def replicas(state: str = "online", offset: int = 7) -> dict[str, str]:
    return {f"slave{index}": f"ip=a,port=1,state={state},offset={offset},lag=0" for index in range(2)}


def sentinel(leader: str = "a", quorum: bool = True, flags: str = "master") -> Seen:
    return Seen("s", "sentinel", {"run_id": "1", "runid": f"run of {leader}", "flags": flags}, quorum=quorum)


APP = Seen("app", "app", {"/": "200", "/readyz": "200"})
WHOLE = [redis("a", **replicas()), redis("b", "slave"), redis("c", "slave"), sentinel(), APP]
CLUSTER_OK = {"cluster_state": "ok", "cluster_slots_ok": "16384"}
CLUSTER = [redis("a", **CLUSTER_OK, **replicas()), redis("b", "slave", **CLUSTER_OK), redis("c", "slave", **CLUSTER_OK)]


def writes(*ends: float, thread: int = 0, outcome: str = "") -> list[Operation]:
    return [Operation(thread, end - 0.01, end, outcome) for end in ends]


def steady(since: float, until: float, thread: int = 0) -> list[Operation]:
    return writes(*(since + step / 10 for step in range(int((until - since) * 10) + 1)), thread=thread)


# Against servers.


def server_of(server: RedisServer) -> Server:
    """The file has its password as the agent reads it: `requirepass "..."`."""
    return Server("redis", server.host, server.port, str(server.config))
