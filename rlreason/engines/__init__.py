"""Engines: vLLM and DeepSpeed behind a few typed methods. They know no Ray."""
