"""Break the project on purpose, one careless change at a time, and tell which of them no test notices.

    python -m mutate.run [NAME ...] [--jobs 2] [--list]

Each entry of mutations.yml is a change that a hurried maintainer could make: in `file` the text `find`, which stands
there once, becomes `replace`; `proof` has the tests that must turn red, as pytest takes them. All of it happens in
copies of the checkout. A proof that is red without the change proves nothing, so each is run once before.
Without a NAME all of them are made. Exit code 0: at least 95 % were noticed, 1: fewer, or a proof that proves nothing,
2: wrong use, or an entry that does not fit the project any more.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import yaml

PROJECT = Path(__file__).resolve().parent.parent
MUTATIONS = Path(__file__).with_name("mutations.yml")
# Of all mutations, how many must be noticed.
WANTED = 0.95
# Seconds. A change that makes its proof wait for ever is noticed.
LONGEST = 600


class MutationError(Exception):
    """A mutation that cannot be made; the text says which, and why."""


@dataclass(frozen=True)
class Mutation:
    """A careless change: what is written where instead of what, and the tests that must notice it."""

    name: str
    file: str
    find: str
    replace: str
    proof: str

    def applied(self, text: str) -> str:
        """The text of the file with the change. Raises MutationError where the change has no one place."""
        if text.count(self.find) != 1:
            raise MutationError(f"{self.name}: {self.file} has {self.find!r} {text.count(self.find)} times, not once")
        return text.replace(self.find, self.replace)


@dataclass(frozen=True)
class Result:
    """Whether a mutation was noticed, and the seconds that its proof took."""

    mutation: Mutation
    noticed: bool
    seconds: float


def read(path: Path = MUTATIONS) -> list[Mutation]:
    """The mutations in the file. Raises MutationError for what is no mutation, or has no place in the project."""
    entries = yaml.safe_load(path.read_text("utf-8"))
    try:
        found = [Mutation(**entry) for entry in entries]
    except TypeError as error:
        raise MutationError(f"{path.name}: {error}") from error
    names = [one.name for one in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise MutationError(f"{path.name}: {', '.join(sorted(twice))} is there twice")
    for one in found:
        file = PROJECT / one.file
        if not file.is_file():
            raise MutationError(f"{one.name}: there is no {one.file}")
        if one.applied(file.read_text("utf-8")) == file.read_text("utf-8"):
            raise MutationError(f"{one.name}: it changes nothing")
    return found


@contextmanager
def checkout() -> Iterator[Path]:
    """A copy of what is checked in or could be, with the tools of the project."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        copy = Path(folder) / PROJECT.name
        for name in filter(None, listed.stdout.split("\0")):
            if (source := PROJECT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, copy / name)
        (copy / ".venv").symlink_to(sys.prefix)
        yield copy


def is_green(copy: Path, proof: str) -> bool:
    """Whether the tests pass in a copy."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    environment = {
        **os.environ,
        # What a test starts by its name lies beside this Python.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # A file that is changed and changed back within a second looks as before.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        done = subprocess.run(
            [*command, *proof.split()], cwd=copy, env=environment, capture_output=True, timeout=LONGEST, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def try_out(copy: Path, mutation: Mutation) -> Result:
    """Make a change in a copy, ask its tests, and take it back."""
    file = copy / mutation.file
    before, started = file.read_text("utf-8"), time.monotonic()
    try:
        file.write_text(mutation.applied(before), "utf-8")
        noticed = not is_green(copy, mutation.proof)
    finally:
        file.write_text(before, "utf-8")
    return Result(mutation, noticed, time.monotonic() - started)


def report(results: Sequence[Result]) -> str:
    """The score and the survivors, for people."""
    survivors = [one.mutation for one in results if not one.noticed]
    score = f"{len(results) - len(survivors)} of {len(results)} mutations were noticed"
    lines = [f"{one.name}: {one.file}: {one.proof} stays green" for one in survivors]
    return "\n".join([*lines, f"{score} ({1 - len(survivors) / len(results):.0%})"])


def run(mutations: Sequence[Mutation], jobs: int) -> list[Result]:
    """Try the mutations out side by side. Raises MutationError where a proof is red without any change."""
    copies: SimpleQueue[Path] = SimpleQueue()

    @contextmanager
    def borrowed() -> Iterator[Path]:
        copy = copies.get()
        try:
            yield copy
        finally:
            copies.put(copy)

    def prove(proof: str) -> str:
        with borrowed() as copy:
            return "" if is_green(copy, proof) else proof

    def attempt(mutation: Mutation) -> Result:
        with borrowed() as copy:
            result = try_out(copy, mutation)
        print(f"{'noticed ' if result.noticed else 'SURVIVED'} {mutation.name} ({result.seconds:.0f} s)", flush=True)
        return result

    with ExitStack() as made, ThreadPoolExecutor(jobs) as threads:
        for _ in range(jobs):
            copies.put(made.enter_context(checkout()))
        proofs = list(dict.fromkeys(one.proof for one in mutations))
        if red := list(filter(None, threads.map(prove, proofs))):
            raise MutationError(f"red without any change, so they prove nothing: {'; '.join(red)}")
        return list(threads.map(attempt, mutations))


def chosen(mutations: Sequence[Mutation], names: Iterable[str]) -> list[Mutation]:
    """Those of these names, all without any. Raises MutationError for a name that there is not."""
    names = list(names)
    if unknown := set(names) - {one.name for one in mutations}:
        raise MutationError(f"there is no mutation {', '.join(sorted(unknown))}; see --list")
    return [one for one in mutations if not names or one.name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description="Break the project on purpose, and tell what no test notices.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a mutation; all of them without")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--list", action="store_true", help="name them, and make none")
    asked = parser.parse_args(arguments)
    if asked.jobs < 1:
        parser.error("--jobs must be 1 or more")
    try:
        mutations = chosen(read(), asked.names)
        if asked.list:
            print("\n".join(f"{one.name}: {one.file}" for one in mutations))
            return 0
    except MutationError as error:
        print(f"mutate/run.py: {error}", file=sys.stderr)
        return 2
    try:
        results = run(mutations, asked.jobs)
    except MutationError as error:
        print(f"mutate/run.py: {error}", file=sys.stderr)
        return 1
    print(report(results))
    return 0 if sum(one.noticed for one in results) >= WANTED * len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
