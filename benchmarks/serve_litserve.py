"""A model behind LitServe, a peer of serve_speed.py: python serve_litserve.py EXPORT PORT

It takes JSON, and bytes in it as base64.
"""

import base64
import os
import sys

import litserve

from serve_bare import Model


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = Model(sys.argv[1])

    def decode_request(self, request: dict[str, str]) -> bytes:
        return base64.b64decode(request["content"])

    def predict(self, x: bytes) -> bytes:
        return self.model.run(x)

    def encode_response(self, output: bytes) -> dict[str, str]:
        return {"content": base64.b64encode(output).decode()}


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=os.cpu_count() or 1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", generate_client_file=False)
