"""A model behind FastAPI as one writes it by hand, a peer of serve_speed.py: python serve_fastapi.py EXPORT PORT"""

import sys

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from serve_bare import Model

model, app = Model(sys.argv[1]), FastAPI()


@app.post("/predict")
async def predict(request: Request) -> Response:
    answer = await run_in_threadpool(model.run, await request.body())
    return Response(answer, media_type="application/octet-stream")


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
