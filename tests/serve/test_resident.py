"""One deployment in a worker: what becomes of versions as routes follow each other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from serve_process import make_deployment

from holdfast.infer import CHALLENGER_ARM, PINNED_ARM
from holdfast.serve.control import Challenger, ChallengerFailed, Hold, Home, Message, Route, Start
from holdfast.serve.rates import make_rates_file
from holdfast.serve.resident import Resident

Test = Callable[[Resident, Callable[[Message], Awaitable[Message]], Callable[[str], str]], Awaitable[None]]


def run(tmp_path: Path, toml: str, test: Test) -> None:
    """Run a test with a resident; `tell` sends it a message and waits for what it says to that."""

    async def main() -> None:
        deployment = make_deployment(tmp_path, toml)
        deployment.run_folder.mkdir(exist_ok=True)
        make_rates_file(deployment.run_folder)
        home = Home(str(tmp_path), deployment.checklist, deployment.checklist_hash)
        said: asyncio.Queue[Message] = asyncio.Queue()
        ours, theirs = socket.socketpair()
        resident = Resident(
            home,
            Start(0, "worker-0", "0", (home,)),
            said.put_nowait,
            copies=ours,
            loading=asyncio.Lock(),
            forget_heads=lambda: None,
        )
        folders = {
            version: str(deployment.artifacts_folder / folder)
            for version, folder in zip("12", artifacts(deployment.artifacts_folder), strict=True)
        }

        async def tell(message: Message) -> Message:
            resident.hear(message)
            return await asyncio.wait_for(said.get(), 10)

        tasks = resident.tasks()
        try:
            await test(resident, tell, folders.__getitem__)
        finally:
            for task in tasks:
                task.cancel()
            await resident.close()
            ours.close()
            theirs.close()

    asyncio.run(main())


def artifacts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_champion_on_standby_again_stays_for_its_whole_time(tmp_path: Path) -> None:
    async def test(
        resident: Resident, tell: Callable[[Message], Awaitable[Message]], folder: Callable[[str], str]
    ) -> None:
        loop = asyncio.get_running_loop()
        await tell(Route(1, "1", folder("1")))
        await tell(Route(2, "2", folder("2")))
        first_s = loop.time()  # from now on version 1 is on standby
        await tell(Route(3, "1", folder("1")))
        await asyncio.sleep(0.2)
        await tell(Route(4, "2", folder("2")))
        await asyncio.sleep(max(first_s + 0.45 - loop.time(), 0.0))
        assert resident.service.find("1") is not None
        await asyncio.sleep(0.3)
        assert resident.service.find("1") is None

    run(tmp_path, '[rollout]\nstandby = "400ms"\n', test)


def test_the_challenger_before_one_that_cannot_be_loaded_is_no_challenger_any_more(tmp_path: Path) -> None:
    def with_challenger(generation: int, version: str, artifact: str, champion: str) -> Route:
        challenger = Challenger(version, artifact, generation, canary=True, share=0.5, key=b"k")
        return Route(generation, "1", champion, challenger)

    async def test(
        resident: Resident, tell: Callable[[Message], Awaitable[Message]], folder: Callable[[str], str]
    ) -> None:
        await tell(Hold("2", folder("2")))
        await tell(with_challenger(1, "2", folder("2"), folder("1")))
        held = resident.service.find("2")
        assert held is not None
        assert held.lane.arm == CHALLENGER_ARM
        said = await tell(with_challenger(2, "3", str(tmp_path / "nothing"), folder("1")))
        assert isinstance(said, ChallengerFailed)
        assert (resident.service.find("2"), held.lane.arm) == (held, PINNED_ARM)

    run(tmp_path, "", test)
