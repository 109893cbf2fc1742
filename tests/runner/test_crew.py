"""How a worker of several devices looks to people."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bench.runner.executors.crew import Job, Member, line


def test_the_line_of_a_worker_says_which_part_of_an_ensemble_is_at_work() -> None:
    shard: Any = SimpleNamespace(cell=SimpleNamespace(label="m | Linf 8/255 | autoattack"), index=3, members=(4, 5))
    member = Member("actor", "node", "host", opening=None, pid=7, device="cuda:0")
    assert line(member).state == "idle"
    member.jobs.append(Job(shard, "reference"))
    member.finished, member.stage = 1, "square"
    assert line(member)[:5] == ("host:7", "cuda:0", "m | Linf 8/255 | autoattack [3] square", 1, 2)
    member.begins()
    assert line(member)[2:5] == ("m | Linf 8/255 | autoattack [3]", 0, 2)
