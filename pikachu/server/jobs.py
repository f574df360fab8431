"""Builds jobs and their runner (JOB-1)."""

from __future__ import annotations

from datetime import timedelta

from pikachu.ca.leadership import IsLeader
from pikachu.core.interfaces import IClock, IStore
from pikachu.operations.job_actions import JobActions
from pikachu.operations.job_runner import JobRunner
from pikachu.operations.jobs import Jobs


def build_jobs(
    store: IStore, clock: IClock, is_leader: IsLeader, actions: JobActions, kept: timedelta
) -> tuple[Jobs, JobRunner]:
    """Return the jobs of accounts, and the runner that each new one wakes."""
    runner = JobRunner(store=store, actions=actions, clock=clock, is_leader=is_leader, kept=kept)
    return Jobs(store=store, actions=actions, clock=clock, wake=runner.wake), runner
