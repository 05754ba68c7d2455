"""The description of the addresses, as OpenAPI 3.1 has it."""

from typing import Any

from ptapp_core.serve.protocol import JSON_LENGTH, MOST
from ptapp_core.serve.stream import LINES

_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}}
_CLIENT = {
    "name": "x-client-id",
    "in": "header",
    "required": False,
    "description": "The same client is answered by the same version; without it, the client is its address.",
    "schema": {"type": "string"},
}
_LENGTH = {
    "name": JSON_LENGTH,
    "in": "header",
    "required": False,
    "description": "Where the JSON ends and the bytes of the tensors begin.",
    "schema": {"type": "integer", "minimum": 0},
}
_FAILURES = {
    "400": "The body cannot be understood.",
    "401": "The token is missing or wrong.",
    "404": "There is no such model or version.",
    "408": "The body came too slowly.",
    "413": "The body is too large.",
    "415": "The model does not take such a body.",
    "503": "Too many requests wait; try again after Retry-After seconds.",
}


def described(version: str) -> dict[str, Any]:
    """All addresses, with what they take and answer."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "ptapp serve", "version": version},
        "paths": _paths(),
        "components": {"schemas": _schemas(), "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


def _paths() -> dict[str, Any]:
    health = {"schema": {"type": "object", "additionalProperties": {"type": "boolean"}}}
    paths = {
        "/v2": _get("The server and its extensions", {"schema": {"type": "object"}}),
        "/v2/health/live": _get("Whether the server is alive", health),
        "/v2/health/ready": _get("Whether the server welcomes requests (503: not now)", health, also=("503",)),
        "/metrics": {
            "get": _operation("Counters as Prometheus reads them", {"text/plain": {"schema": {"type": "string"}}})
        },
        "/openapi.json": _get("This description", {"schema": {"type": "object"}}),
        "/models": _get("All models with their versions, shares and cards", {"schema": {"type": "object"}}),
        "/predict": _post("Answers of the only model", "Answers", _people(), _CLIENT),
    }
    for place, parameters in (("", [_NAME, _CLIENT]), ("/versions/{version}", [_NAME, _VERSION])):
        known, whose = parameters[: -1 if place == "" else None], "a version" if place else "a model"
        model = f"/v2/models/{{name}}{place}"
        paths |= {
            model: _get(f"Inputs and outputs of {whose}", _ref("Model"), *known, also=("404",)),
            f"{model}/ready": _get(f"Whether {whose} is ready", {"schema": {"type": "object"}}, *known, also=("404",)),
            f"{model}/infer": _post(f"Tensors through {whose}", "Inferred", _tensors(), *parameters, _LENGTH),
            f"/models/{{name}}{place}/predict": _post(f"Answers of {whose}", "Answers", _people(), *parameters),
            f"/models/{{name}}{place}/play": _post(f"An episode of {whose}", "Episode", _seed(), *parameters),
        }
    return paths


def _ref(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def _operation(summary: str, content: dict[str, Any], *parameters: Any, also: tuple[str, ...] = ()) -> dict[str, Any]:
    failures = {code: {"description": _FAILURES[code], "content": {"application/json": _ref("Error")}} for code in also}
    responses = {"200": {"description": summary, "content": content}, **failures}
    return {"summary": summary, "parameters": list(parameters), "responses": responses}


def _get(summary: str, answer: dict[str, Any], *parameters: Any, also: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"get": _operation(summary, {"application/json": answer}, *parameters, also=also)}


def _post(summary: str, answer: str, body: dict[str, Any], *parameters: Any) -> dict[str, Any]:
    streamed = {LINES: {"schema": {"type": "string"}}} if answer in ("Answers", "Episode") else {}
    content = {"application/json": _ref(answer), **streamed}
    operation = _operation(summary, content, *parameters, also=tuple(_FAILURES))
    return {"post": {**operation, "requestBody": {"required": True, "content": body}}}


def _people() -> dict[str, Any]:
    """What `predict` takes: the model says by 415 which of these it does."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    files = {"type": "object", "properties": {"file": {"type": "array", "items": binary["schema"]}}}
    options = {
        "options": {"type": "object", "description": "as the options of `ptapp DOMAIN predict`"},
        "stream": {"type": "boolean", "description": "a generated text piece by piece, as lines of JSON"},
    }

    def listed(name: str, items: dict[str, Any]) -> dict[str, Any]:
        several = {"type": "array", "items": items, "minItems": 1, "maxItems": MOST}
        return {"type": "object", "properties": {name: several, **options}, "required": [name]}

    text = {"type": "string"}
    named = {"type": "object", "properties": {"text": text, "pair": text}, "required": ["text", "pair"]}
    pair = {"oneOf": [{"type": "array", "items": text, "minItems": 2, "maxItems": 2}, named]}
    of_json = {"oneOf": [listed("texts", text), listed("pairs", pair), listed("observations", {})]}
    return {
        "image/*": binary,
        "audio/*": binary,
        "application/octet-stream": binary,
        "text/plain": {"schema": text},
        "multipart/form-data": {"schema": files},
        "application/json": {"schema": of_json},
    }


def _seed() -> dict[str, Any]:
    seed = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
    schema = {"type": "object", "properties": {"seed": seed}, "additionalProperties": False}
    return {"application/json": {"schema": schema}}


def _tensors() -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {"application/json": _ref("Tensors"), "application/octet-stream": binary}


def _schemas() -> dict[str, Any]:
    text, number = {"type": "string"}, {"type": "integer"}

    def fixed(**properties: Any) -> dict[str, Any]:
        return {"type": "object", "properties": properties, "required": list(properties)}

    port = fixed(name=text, datatype=text, shape={"type": "array", "items": number})
    tensor = fixed(name=text, datatype=text, shape={"type": "array", "items": number})
    tensor["properties"] |= {"data": {"type": "array"}, "parameters": {"type": "object"}}
    tensors = {"type": "array", "items": tensor}
    request = fixed(inputs=tensors)
    request["properties"] |= {"id": text, "parameters": {"type": "object"}, "outputs": {"type": "array"}}
    ports = {"type": "array", "items": port}
    return {
        "Error": fixed(error=text),
        "Model": fixed(
            name=text, versions={"type": "array", "items": text}, platform=text, inputs=ports, outputs=ports
        ),
        "Tensors": request,
        "Inferred": fixed(model_name=text, model_version=text, outputs=tensors),
        "Episode": {"type": "object", "properties": {"return": {"type": "number"}, "steps": number}},
        "Answers": fixed(model=text, version=text, answers={"type": "array", "items": {"type": "object"}}),
    }
