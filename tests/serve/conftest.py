"""One server with two versions of the toy model, which the tests of a file share."""

from collections.abc import Iterator

import pytest

from serve.running import Running, serving, write_model


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("toy")
    write_model(folder / "models" / "toy" / "1")
    write_model(folder / "models" / "toy" / "2", scale=-1.0)
    with serving(folder, folder / "models") as server:
        yield server
