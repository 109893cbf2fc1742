"""From the user's settings to the workers of a cluster."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch

from bench.errors import BenchError
from bench.runner.events import Progress
from bench.runner.executors.cluster import Cluster, Node
from bench.runner.executors.luggage import pack
from bench.runner.executors.ray import RayExecutor
from bench.runner.options import RunSettings
from bench.runner.preflight import Plan
from bench.runner.provenance import environment
from bench.runner.shards import AnyShard, CorruptedShard


def ray_executor(plan: Plan, settings: RunSettings, progress: Progress, plugins: tuple[Path, ...]) -> RayExecutor:
    """Connects to Ray, or starts it on this machine, and packs what the nodes need.

    Args:
        plan: the suite.
        settings: the user's.
        progress: hears of the workers.
        plugins: the plugin files of the suite.

    Raises:
        BenchError: where there is no Ray, no cluster, or no device as asked for.
    """
    asked = settings.cluster
    if settings.device not in ("auto", "cpu", "cuda"):
        raise BenchError(f"--device {settings.device}: not with --executor ray (accepted: auto, cpu, cuda)")
    cores = max(os.cpu_count() or 1, (asked.workers or 1) * asked.cpus_per_worker)
    cluster = Cluster(asked, cores)
    try:
        nodes = cluster.nodes()
        gpu = _takes_gpus(settings.device, nodes)
        luggage = pack(plan, settings, plugins, cluster.put)
        return RayExecutor(
            cluster,
            luggage,
            asked,
            gpu=gpu,
            note=progress.note,
            show=progress.workers,
            environment={**environment(torch.device("cpu")), "device": _described(nodes, gpu=gpu)},
            travel=lambda shard: _with_images(plan, shard, made_there=luggage.corruptions is not None),
        )
    except BaseException:
        cluster.close()
        raise


def _takes_gpus(device: str, nodes: list[Node]) -> bool:
    found = any(node.gpus > 0 for node in nodes)
    if device == "cuda" and not found:
        raise BenchError("--device cuda: no node of the cluster has a GPU (accepted: auto, cpu)")
    return found and device != "cpu"


def _described(nodes: list[Node], *, gpu: bool) -> str:
    count = sum(node.gpus if gpu else node.cpus for node in nodes)
    return f"ray ({count:g} {'GPUs' if gpu else 'cores'} on {len(nodes)} node{'s' * (len(nodes) != 1)} at the start)"


def _with_images(plan: Plan, shard: AnyShard, *, made_there: bool) -> AnyShard:
    """Published corrupted images travel with their shard; those that a library makes are made where they are used."""
    if not isinstance(shard, CorruptedShard) or made_there:
        return shard
    assert plan.corrupted.images is not None  # else the cell is unavailable
    return replace(
        shard, images=plan.corrupted.images.images(shard.cell.corruption, shard.cell.severity, shard.members)
    )
