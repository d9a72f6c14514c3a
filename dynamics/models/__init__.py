"""Networks as flax modules with a pure apply, one file a family."""
