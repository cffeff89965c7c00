"""Serves a GGUF model over OpenAI's API until it is stopped: where and with what key as the environment says."""

import argparse
import os
import signal
import threading

import xllamacpp


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("model")
    arguments.add_argument("--port", type=int, default=8000)
    given = arguments.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = given.model
    params.hostnames = [os.environ.get("NIGHTJAR_SERVE_HOST", "127.0.0.1")]
    if key := os.environ.get("VLLM_API_KEY"):
        params.api_keys = [key]
    params.port = given.port
    params.n_ctx = 0
    params.n_parallel = 1
    params.warmup = False
    server = xllamacpp.Server(params)
    print(f"serving {given.model} at {server.listening_address}", flush=True)
    over = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: over.set())
    while not over.wait(1):
        pass


main()
