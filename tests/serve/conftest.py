"""Servers of the toy model that the tests share."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptapp_core.serve import connection
from ptapp_core.serve.config import ServeSettings
from ptapp_core.serve.server import Draining, config_for, listen, service_for, store_for
from serve.running import Running, install_toy, serving, until, write_model


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is not there yet, for which a toy model waits that names it."""
    return tmp_path_factory.mktemp("gate") / "open"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One with two versions, for all tests of a file."""
    folder = tmp_path_factory.mktemp("toy")
    write_model(folder / "models" / "toy" / "1")
    write_model(folder / "models" / "toy" / "2", scale=-1.0)
    with serving(folder, folder / "models") as server:
        yield server


@pytest.fixture
def in_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Running, Draining]]:
    """A server in a thread of this process that waits for a slow client no longer than a tenth of a second."""
    for place in install_toy(tmp_path / "installed"):
        monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(connection, "PATIENCE", 0.1)
    write_model(tmp_path / "toy")
    settings = ServeSettings(models=[str(tmp_path / "toy")], max_bytes="10K", port=0)
    store = store_for(settings)
    store.load()
    service = service_for(store, settings)
    listening = listen(settings)
    server = Draining(config_for(service, None), service.state, 0)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    until(lambda: server.started)
    yield Running(None, f"http://127.0.0.1:{listening.getsockname()[1]}"), server  # type: ignore[arg-type]
    server.should_exit = True
    thread.join()
    for name in [name for name in sys.modules if name.partition(".")[0] == "ptapp_toy"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def impatient(in_thread: tuple[Running, Draining]) -> Running:
    return in_thread[0]
