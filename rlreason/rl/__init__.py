"""The parts that `stages/rl.py` is made of."""
