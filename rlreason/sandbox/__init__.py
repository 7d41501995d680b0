"""Untrusted code: runs a program in a confined process and never lets it near the verdict.

`pool.Sandbox` is the way in. `zygote`, `solution` and `driver` run on the far side, in an interpreter of their own.
"""
