"""Workers: Ray actors around the engines, and the fleets that hold them."""
