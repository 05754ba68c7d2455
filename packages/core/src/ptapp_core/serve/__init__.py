"""A server that answers from exports over HTTP, by onnxruntime and without torch."""
