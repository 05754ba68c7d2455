"""The description of the addresses: it has each of them, and nothing else."""

import re
from typing import Any, cast

from ptapp_core.serve.app import Service, routes
from ptapp_core.serve.openapi import described
from serve.running import Running


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_each_route_is_described_with_its_methods_and_parameters() -> None:
    class Anything:
        def __getattr__(self, name: str) -> Any:
            return lambda request: None

    paths = described("1")["paths"]
    served = {route.path: (route.methods or set()) - {"HEAD"} for route in routes(cast(Service, Anything()))}
    assert {path: {method.upper() for method in methods} for path, methods in paths.items()} == served
    for path, methods in paths.items():
        for operation in methods.values():
            named = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))
            assert operation["summary"]
            assert "200" in operation["responses"]


def test_every_reference_leads_somewhere() -> None:
    about = described("1")
    known = {f"#/components/schemas/{name}" for name in about["components"]["schemas"]}
    assert references(about) == known


def test_the_server_gives_its_description_and_answers_as_it_says(toy: Running) -> None:
    about = toy.get("/openapi.json").json()
    assert about["openapi"] == "3.1.0"
    fill = {"{name}": "toy", "{version}": "1"}
    for path, methods in about["paths"].items():
        address = re.sub(r"{\w+}", lambda found: fill[found[0]], path)
        if "get" in methods:
            assert toy.get(address).status_code == 200, path
        else:
            answer = toy.post(address, content=b"nonsense")
            assert str(answer.status_code) in methods["post"]["responses"], path
            assert list(answer.json()) == about["components"]["schemas"]["Error"]["required"]
